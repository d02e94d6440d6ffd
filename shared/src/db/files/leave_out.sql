-- files.leave_out
-- Not the last one. Its counts are null until a load has taken its rows out of staging.
UPDATE onceload.import_files f
   SET status = 'left_out', layout = NULL, records = NULL, staged = NULL, rejected = NULL, skipped = NULL,
       loaded_at = NULL, error_reason = NULL, error_message = NULL, warnings = DEFAULT, rejected_by_reason = DEFAULT
 WHERE job_id = $1 AND file_no = $2
   AND EXISTS (SELECT FROM onceload.import_files o
                WHERE o.job_id = $1 AND o.file_no <> $2 AND o.status <> 'left_out')
