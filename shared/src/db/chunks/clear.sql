-- chunks.clear
DELETE FROM onceload.import_chunks WHERE job_id = $1
