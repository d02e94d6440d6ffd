-- jobs.retry
-- The next attempt. What was loaded stays loaded; failed files are tried again.
WITH job AS (
    UPDATE onceload.codes_import_jobs
       SET status = 'loading', phase = 'retrying', attempt = attempt + 1, leased = true, execution_arn = NULL,
           task_token = NULL, cancel_requested_at = NULL, finished_at = NULL, error_message = NULL,
           validation_errors = '[]', validation_passed = NULL, blocked = false, accept_duplicates = false,
           approved_at = NULL, approved_by = NULL, restage_count = 0, recheck_count = 0,
           updated_at = now(), heartbeat_at = now()
     WHERE id = $1 AND merchant_id = ANY ($2) AND status = 'failed' AND inserted_at IS NULL
    RETURNING id, attempt
), files AS (
    UPDATE onceload.import_files f SET status = 'pending', error_reason = NULL, error_message = NULL
      FROM job WHERE f.job_id = job.id AND f.status = 'failed'
)
SELECT attempt FROM job
