-- jobs.holder
-- The job that holds the source or the merchant's lease; where the lease is free, the one that gets it next.
SELECT id, coalesce(approved_at, created_at) AS started_at,
       extract(epoch FROM now() - coalesce(approved_at, created_at))::float8 AS age_seconds,
       extract(epoch FROM now() - coalesce(heartbeat_at, approved_at, created_at))::float8 AS silent_seconds,
       status = 'awaiting_approval' AND approved_at IS NULL AS waits_for_approval
  FROM onceload.codes_import_jobs
 WHERE merchant_id = $1
   AND (($3 AND (leased OR id = (SELECT onceload.next_in_line($1))))
        OR (source_fingerprint = $2
            AND finished_at IS NULL))
 ORDER BY source_fingerprint = $2 DESC NULLS LAST, leased DESC LIMIT 1
