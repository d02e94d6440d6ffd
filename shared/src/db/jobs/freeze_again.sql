-- jobs.freeze_again
UPDATE onceload.codes_import_jobs SET source_fingerprint = $3, updated_at = now()
 WHERE id = $1 AND attempt = $2 AND status IN ('pending', 'loading') AND cancel_requested_at IS NULL
