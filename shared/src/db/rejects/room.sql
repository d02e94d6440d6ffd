-- rejects.room
-- How many bytes of rejects this file may keep: at most $3, and of what the other files have left of the job's $4 its part, since
-- $5 files may load at a time.
SELECT least($3, greatest(0, $4 - coalesce(sum(reject_bytes), 0)) / $5)::bigint AS room
  FROM onceload.import_files WHERE job_id = $1 AND file_no <> $2
