-- files.replace
-- Its number stays, and with it the place of its records among all others.
UPDATE onceload.import_files
   SET replaces = coalesce(replaces, key), key = $3, version_id = $4, etag = $5, bytes = $6, status = 'pending',
       layout = NULL, records = NULL, staged = NULL, rejected = NULL, skipped = NULL, loaded_at = NULL,
       error_reason = NULL, error_message = NULL, warnings = DEFAULT, rejected_by_reason = DEFAULT
 WHERE job_id = $1 AND file_no = $2
RETURNING file_no
