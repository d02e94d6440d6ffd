-- jobs.clear_staging
-- Only of an import that is over, and not while it is read. What a retry would have found loaded is to load again.
WITH job AS (
    UPDATE onceload.codes_import_jobs j
       SET staging_cleared_at = coalesce(staging_cleared_at, now()), staging_created_at = NULL, updated_at = now()
     WHERE id = $1 AND merchant_id = ANY ($2) AND finished_at IS NOT NULL
       AND NOT EXISTS (SELECT FROM onceload.import_tasks t WHERE t.job_id = j.id AND t.status = 'active' AND t.action = 'export'
                          AND t.kind <> 'rejects')
    RETURNING id, status
), files AS (
    UPDATE onceload.import_files f
       SET status = CASE WHEN f.status = 'loaded' THEN 'pending' ELSE f.status END, bucket_rows = NULL
      FROM job WHERE f.job_id = job.id AND job.status = 'failed'
)
SELECT id FROM job
