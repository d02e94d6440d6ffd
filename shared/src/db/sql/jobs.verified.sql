-- jobs.verified
UPDATE codes_import_jobs SET verification = $2, updated_at = now()
 WHERE id = $1 AND status IN ('processing', 'completed')
