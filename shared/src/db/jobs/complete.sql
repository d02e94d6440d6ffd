-- jobs.complete
-- Codes are in, or there were none to insert.
UPDATE onceload.codes_import_jobs
   SET status = 'completed', phase = 'completed', leased = false, completed_at = now(), finished_at = now(),
       codes_inserted = coalesce(codes_inserted, 0), late_duplicates = coalesce(late_duplicates, 0),
       error_message = $3, updated_at = now()
 WHERE id = $1 AND attempt = $2
   AND ((status = 'processing' AND inserted_at IS NOT NULL)
        OR (status = 'validating' AND validation_passed AND total_codes_to_insert = 0))
RETURNING merchant_id
