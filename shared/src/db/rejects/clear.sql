-- rejects.clear
DELETE FROM onceload.import_rejects WHERE job_id = $1 AND file = $2
