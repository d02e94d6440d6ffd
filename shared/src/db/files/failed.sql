-- files.failed
UPDATE onceload.import_files f SET status = 'failed', error_reason = $4, error_message = $5
  FROM onceload.codes_import_jobs j
 WHERE f.job_id = $1 AND f.file_no = $2 AND f.status <> 'loaded'
   AND j.id = f.job_id AND j.attempt = $3 AND j.status IN ('pending', 'loading')
