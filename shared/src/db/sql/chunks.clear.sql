-- chunks.clear
DELETE FROM import_chunks WHERE job_id = $1
