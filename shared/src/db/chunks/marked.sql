-- chunks.marked
UPDATE onceload.import_chunks
   SET status = 'marked', marked_at = now(), internal_duplicates = $3, database_duplicates = $4,
       both_duplicates = $5, clean = $6, clean_checksum = $7, production = $8
 WHERE job_id = $1 AND chunk_no = $2
