-- jobs.retry
-- The next attempt, after a failure or because files were mended ($4: what they are now). What is loaded stays loaded;
-- failed files are tried again. The marks and the approval are void.
WITH job AS (
    UPDATE onceload.codes_import_jobs
       SET status = 'loading', phase = 'retrying', attempt = attempt + 1, leased = true, execution_arn = NULL,
           task_token = NULL, token_entered_at = NULL, token_retry_count = NULL, cancel_requested_at = NULL, finished_at = NULL, error_message = NULL,
           validation_errors = '[]', validation_passed = NULL, blocked = false, accept_duplicates = false,
           approved_at = NULL, approved_by = NULL, approved_clean = NULL, approved_checksum = NULL,
           asked_at = NULL, restage_count = 0, recheck_count = 0,
           records = NULL, staged = NULL, rejected = NULL, skipped = NULL, internal_duplicates = NULL,
           database_duplicates = NULL, both_duplicates = NULL, total_codes_to_insert = NULL, clean_checksum = NULL,
           insert_estimate_seconds = NULL,
           source_fingerprint = coalesce($4, source_fingerprint), updated_at = now(), heartbeat_at = now()
     WHERE id = $1 AND merchant_id = ANY ($2) AND status = ANY ($3) AND inserted_at IS NULL
    RETURNING id, attempt
), files AS (
    UPDATE onceload.import_files f SET status = 'pending', error_reason = NULL, error_message = NULL
      FROM job WHERE f.job_id = job.id AND f.status = 'failed'
), chunks AS (
    DELETE FROM onceload.import_chunks c USING job WHERE c.job_id = job.id
)
SELECT attempt FROM job
