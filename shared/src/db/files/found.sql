-- files.found
-- It was missing when the files were frozen.
UPDATE onceload.import_files SET version_id = $3, etag = $4, bytes = $5
 WHERE job_id = $1 AND file_no = $2 AND etag = '' AND status IN ('pending', 'failed')
