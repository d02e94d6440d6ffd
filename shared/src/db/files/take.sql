-- files.take
-- The marker comes first: a second loader of the file waits here, then finds it loaded. Of a file that is left out, its
-- counts are the marker. `bucket_rows`: what is staged of what the file was before.
UPDATE onceload.import_files
   SET status = CASE WHEN status = 'left_out' THEN status ELSE 'loaded' END, loaded_at = now(),
       records = 0, staged = 0, rejected = 0, skipped = 0, error_reason = NULL, error_message = NULL
 WHERE job_id = $1 AND file_no = $2
   AND (status IN ('pending', 'failed') OR (status = 'left_out' AND records IS NULL))
RETURNING bucket_rows
