-- tasks.ask_export
-- Nobody works on the import, and what is to be exported is there: rejects until staging is cleared; for duplicates and report,
-- marked staging.
INSERT INTO onceload.import_tasks (job_id, action, kind, requested_by)
SELECT j.id, 'export', $4, $3 FROM onceload.codes_import_jobs j
 WHERE j.id = $1 AND j.merchant_id = ANY ($2)
   AND (j.finished_at IS NOT NULL OR j.status = 'awaiting_approval')
   AND (($4 = 'rejects' AND j.staging_cleared_at IS NULL)
        OR ($4 <> 'rejects' AND j.staging_created_at IS NOT NULL
            AND EXISTS (SELECT FROM onceload.import_chunks c WHERE c.job_id = j.id)
            AND NOT EXISTS (SELECT FROM onceload.import_chunks c WHERE c.job_id = j.id AND c.status <> 'marked')))
ON CONFLICT DO NOTHING
RETURNING id
