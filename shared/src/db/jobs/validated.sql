-- jobs.validated
UPDATE onceload.codes_import_jobs
   SET internal_duplicates = $3, database_duplicates = $4, both_duplicates = $5, total_codes_to_insert = $6,
       clean_checksum = $7, blocked = $8, validation_passed = $9, validation_errors = $10,
       phase = 'validated', updated_at = now()
 WHERE id = $1 AND attempt = $2 AND status = 'validating' AND cancel_requested_at IS NULL
