-- rejects.clear
DELETE FROM import_rejects WHERE job_id = $1 AND file = $2
