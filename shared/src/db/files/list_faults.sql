-- files.list_faults
SELECT error_message FROM onceload.import_files WHERE job_id = $1 AND status = 'failed' ORDER BY file_no
