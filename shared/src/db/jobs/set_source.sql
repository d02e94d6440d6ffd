-- jobs.set_source
-- A manifest is read after its job is registered.
UPDATE onceload.codes_import_jobs SET source_info = source_info || $3, mapping = $4, max_duplicate_ratio = $5, max_rejects = $6
 WHERE id = $1 AND attempt = $2 AND files_frozen_at IS NULL
