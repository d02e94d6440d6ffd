-- rejects.not_kept
-- Files that had more rejects than are kept.
SELECT file_no, key, rejected - rejects_kept AS missing
  FROM onceload.import_files WHERE job_id = $1 AND rejected > rejects_kept ORDER BY file_no
