-- chunks.lock
SELECT chunk_no, bucket_no, lower_bound, upper_bound, staged, status, internal_duplicates,
       database_duplicates, both_duplicates, clean, clean_checksum, production, late_duplicates
  FROM onceload.import_chunks WHERE job_id = $1 AND chunk_no = $2 FOR UPDATE
