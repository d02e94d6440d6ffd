-- jobs.staging_lost
-- Back to loading, in the next attempt, whose execution has a history of its own: the files' frozen versions are loaded again, and
-- the marks are void. The lease stays, and the approval until validation has compared it.
WITH job AS (
    UPDATE onceload.codes_import_jobs
       SET status = 'loading', phase = 'staging_lost', attempt = attempt + 1, execution_arn = NULL,
           staging_created_at = NULL, restage_count = restage_count + 1,
           validation_passed = NULL, task_token = NULL, token_entered_at = NULL, token_retry_count = NULL,
           updated_at = now(), heartbeat_at = now()
     WHERE id = $1 AND attempt = $2 AND status IN ('loading', 'checking', 'validating', 'processing')
       AND inserted_at IS NULL AND cancel_requested_at IS NULL
       AND staging_created_at IS NOT NULL
    RETURNING id, attempt
), files AS (
    UPDATE onceload.import_files f SET status = 'pending', loaded_at = NULL, records = NULL, staged = NULL, rejected = NULL,
           skipped = NULL, bucket_rows = NULL, warnings = DEFAULT, rejected_by_reason = DEFAULT
      FROM job WHERE f.job_id = job.id AND f.status = 'loaded'
), chunks AS (
    DELETE FROM onceload.import_chunks c USING job WHERE c.job_id = job.id
), start AS (
    INSERT INTO onceload.outbox (job_id, kind, payload)
    SELECT id, 'start_execution', jsonb_build_object('attempt', attempt) FROM job
)
SELECT attempt FROM job
