-- files.loaded
UPDATE onceload.import_files SET records = $3, staged = $4, rejected = $5, skipped = $6, bucket_rows = $7,
       warnings = $8, rejected_by_reason = $9, rejects_kept = $10, reject_bytes = $11
 WHERE job_id = $1 AND file_no = $2 AND status IN ('loaded', 'left_out')
