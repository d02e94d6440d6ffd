-- jobs.mended
-- Another file is still failed, so the job is: it says which are left.
UPDATE onceload.codes_import_jobs
   SET source_fingerprint = $2, error_message = $3, updated_at = now(),
       validation_errors = (SELECT coalesce(jsonb_agg(v.error ORDER BY v.place), '[]')
                              FROM jsonb_array_elements(validation_errors) WITH ORDINALITY AS v(error, place)
                             WHERE v.error ->> 'file' IS DISTINCT FROM $4)
 WHERE id = $1 AND status = 'failed'
