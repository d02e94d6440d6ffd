-- rollback.done
-- The last statement of the rollback: what decides whether the codes are gone or not.
UPDATE codes_import_jobs
   SET status = 'rolled_back', phase = 'rolled_back', leased = false, rolled_back_at = now(), finished_at = now(),
       codes_deleted = $2, codes_kept = $3, updated_at = now()
 WHERE id = $1 AND status = 'completed' AND leased
