-- jobs.freeze
UPDATE onceload.codes_import_jobs
   SET source_fingerprint = $3, source_info = source_info || $4, files_asked = NULL, files_frozen_at = now(), updated_at = now()
 WHERE id = $1 AND attempt = $2 AND status IN ('pending', 'loading') AND files_frozen_at IS NULL
