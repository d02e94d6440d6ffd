-- jobs.staging_lost
-- Back to loading: the files' frozen versions are loaded again, approval and marks are void.
WITH job AS (
    UPDATE onceload.codes_import_jobs
       SET status = 'loading', phase = 'staging_lost', staging_created_at = NULL, restage_count = restage_count + 1,
           approved_at = NULL, approved_by = NULL, accept_duplicates = false, task_token = NULL, updated_at = now()
     WHERE id = $1 AND attempt = $2 AND status IN ('loading', 'checking', 'validating', 'processing')
       AND inserted_at IS NULL AND cancel_requested_at IS NULL
       -- Of several chunks that notice the same loss, one counts it.
       AND staging_created_at IS NOT NULL
    RETURNING id, restage_count
), files AS (
    UPDATE onceload.import_files f SET status = 'pending', loaded_at = NULL, records = NULL, staged = NULL, rejected = NULL,
           skipped = NULL, bucket_rows = NULL, warnings = DEFAULT, rejected_by_reason = DEFAULT
      FROM job WHERE f.job_id = job.id AND f.status = 'loaded'
), chunks AS (
    DELETE FROM onceload.import_chunks c USING job WHERE c.job_id = job.id
)
SELECT restage_count FROM job
