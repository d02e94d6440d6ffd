-- jobs.verified
-- With its time, so that who asked for it sees that it is a new one. An import that was completed without one says no longer that it
-- is missing.
UPDATE onceload.codes_import_jobs
   SET verification = $2::jsonb || jsonb_build_object('verified_at', now()), updated_at = now(),
       error_message = CASE WHEN status = 'completed' AND verification IS NULL AND inserted_at IS NOT NULL THEN NULL
                            ELSE error_message END
 WHERE id = $1 AND status IN ('processing', 'completed')
