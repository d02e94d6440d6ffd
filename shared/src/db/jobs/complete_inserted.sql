-- jobs.complete_inserted
-- A later step failed, or the execution is gone; the codes are in all the same.
UPDATE onceload.codes_import_jobs
   SET status = 'completed', phase = 'completed', leased = false, completed_at = now(), finished_at = now(),
       error_message = $3 || CASE WHEN verification IS NULL
                                  THEN '. The import is not verified yet; that is tried again every hour' ELSE '' END,
       updated_at = now()
 WHERE id = $1 AND attempt = $2 AND status = 'processing' AND inserted_at IS NOT NULL
RETURNING merchant_id
