-- tasks.ask_verify
INSERT INTO onceload.import_tasks (job_id, action, requested_by)
SELECT id, 'verify', $3 FROM onceload.codes_import_jobs
 WHERE id = $1 AND merchant_id = ANY ($2) AND status = 'completed' AND NOT leased
ON CONFLICT DO NOTHING
RETURNING id
