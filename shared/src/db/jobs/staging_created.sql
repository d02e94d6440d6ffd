-- jobs.staging_created
UPDATE onceload.codes_import_jobs SET staging_created_at = now(), staging_cleared_at = NULL, phase = 'loading', updated_at = now()
 WHERE id = $1 AND attempt = $2 AND status = 'loading' AND cancel_requested_at IS NULL
   AND staging_created_at IS NULL
