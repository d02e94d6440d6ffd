-- rejects.find_expired
-- Jobs whose staging was cleared, and which have rejects. It walks from job to job along the primary key: few jobs have any.
WITH RECURSIVE kept AS (
    (SELECT job_id FROM onceload.import_rejects ORDER BY job_id LIMIT 1)
    UNION ALL
    SELECT (SELECT r.job_id FROM onceload.import_rejects r WHERE r.job_id > kept.job_id ORDER BY r.job_id LIMIT 1)
      FROM kept WHERE kept.job_id IS NOT NULL
)
SELECT j.id FROM kept JOIN onceload.codes_import_jobs j ON j.id = kept.job_id
 WHERE j.finished_at IS NOT NULL AND j.staging_cleared_at IS NOT NULL LIMIT 50
