-- jobs.expire_staging
-- A failed job that is retried after this loads everything again.
WITH job AS (
    UPDATE onceload.codes_import_jobs SET staging_cleared_at = now(), staging_created_at = NULL
     WHERE id = $1 AND finished_at IS NOT NULL AND staging_cleared_at IS NULL
    RETURNING id, status
), files AS (
    UPDATE onceload.import_files f
       SET status = CASE WHEN f.status = 'loaded' THEN 'pending' ELSE f.status END, bucket_rows = NULL
      FROM job WHERE f.job_id = job.id AND job.status = 'failed'
)
SELECT id FROM job
