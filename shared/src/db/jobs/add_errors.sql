-- jobs.add_errors
-- Faults of files, found while the job opens or loads; the state is changed by close-import.
UPDATE onceload.codes_import_jobs SET validation_errors = $3, updated_at = now()
 WHERE id = $1 AND attempt = $2 AND status IN ('pending', 'loading')
