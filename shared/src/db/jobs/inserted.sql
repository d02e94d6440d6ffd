-- jobs.inserted
-- The last statement of the insert: what decides whether ten million rows are there or not. Its transaction began at now().
UPDATE onceload.codes_import_jobs
   SET codes_inserted = $3, late_duplicates = $4, codes_checksum = $5, inserted_at = clock_timestamp(),
       insert_seconds = extract(epoch FROM clock_timestamp() - now()), phase = 'verifying', updated_at = now()
 WHERE id = $1 AND attempt = $2 AND status = 'processing' AND cancel_requested_at IS NULL AND inserted_at IS NULL
