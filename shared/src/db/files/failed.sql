-- files.failed
-- Whoever mends the file has changed the job first.
WITH job AS (
    SELECT id FROM onceload.codes_import_jobs
     WHERE id = $1 AND attempt = $3 AND status IN ('pending', 'loading') FOR SHARE
)
UPDATE onceload.import_files f SET status = 'failed', error_reason = $4, error_message = $5
  FROM job
 WHERE f.job_id = job.id AND f.file_no = $2 AND f.status IN ('pending', 'failed')
