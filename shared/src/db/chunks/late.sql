-- chunks.late
UPDATE onceload.import_chunks SET late_duplicates = $3 WHERE job_id = $1 AND chunk_no = $2
