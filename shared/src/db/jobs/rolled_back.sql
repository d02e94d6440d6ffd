-- jobs.rolled_back
-- The last statement of the rollback: what decides whether the codes are gone or not. The merchant is counted afterwards.
UPDATE onceload.codes_import_jobs
   SET status = 'rolled_back', phase = 'rolled_back', leased = false, rolled_back_at = now(), finished_at = now(),
       codes_deleted = $2, codes_kept = $3, merchant_total = NULL, updated_at = now()
 WHERE id = $1 AND status = 'completed' AND leased
