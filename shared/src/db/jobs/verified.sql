-- jobs.verified
-- With its time, so that who asked for it sees that it is a new one.
UPDATE onceload.codes_import_jobs
   SET verification = $2::jsonb || jsonb_build_object('verified_at', now()), updated_at = now()
 WHERE id = $1 AND status IN ('processing', 'completed')
