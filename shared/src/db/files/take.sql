-- files.take
-- The marker comes first: a second loader of the file waits here, then finds it loaded.
UPDATE onceload.import_files SET status = 'loaded', loaded_at = now(), error_reason = NULL, error_message = NULL
 WHERE job_id = $1 AND file_no = $2 AND status <> 'loaded'
