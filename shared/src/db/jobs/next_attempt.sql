-- jobs.next_attempt
-- The execution was over before it heard of the approval ($3): its token is still there. The next attempt marks again what is loaded,
-- under the approval that was given. The lease stays.
WITH job AS (
    UPDATE onceload.codes_import_jobs
       SET status = 'loading', phase = 'retrying', attempt = attempt + 1, execution_arn = NULL, task_token = NULL,
           token_entered_at = NULL, token_retry_count = NULL, validation_passed = NULL, updated_at = now(), heartbeat_at = now()
     WHERE id = $1 AND attempt = $2 AND execution_arn = $3 AND status = 'processing' AND task_token IS NOT NULL
       AND inserted_at IS NULL AND cancel_requested_at IS NULL
    RETURNING id, attempt
), chunks AS (
    DELETE FROM onceload.import_chunks c USING job WHERE c.job_id = job.id
), start AS (
    INSERT INTO onceload.outbox (job_id, kind, payload)
    SELECT id, 'start_execution', jsonb_build_object('attempt', attempt) FROM job
)
SELECT attempt FROM job
