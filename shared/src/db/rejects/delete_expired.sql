-- rejects.delete_expired
-- The job is locked: a retry waits, and its rejects stay. An export that was asked for first has them still.
WITH job AS (
    SELECT j.id FROM onceload.codes_import_jobs j
     WHERE j.id = $1 AND j.finished_at IS NOT NULL AND j.staging_cleared_at IS NOT NULL
       AND NOT EXISTS (SELECT FROM onceload.import_tasks t
                        WHERE t.job_id = j.id AND t.status = 'active' AND t.action = 'export' AND t.kind = 'rejects')
       FOR SHARE
)
DELETE FROM onceload.import_rejects
 WHERE (job_id, file_no, record_number) IN (
       SELECT r.job_id, r.file_no, r.record_number FROM job JOIN onceload.import_rejects r ON r.job_id = job.id
        ORDER BY r.job_id, r.file_no, r.record_number LIMIT $2)
