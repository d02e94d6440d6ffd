-- rejects.clear
DELETE FROM onceload.import_rejects WHERE job_id = $1 AND file_no = $2
