-- jobs.append_error
-- Loaders of one job fail beside each other: each adds its own, up to fault::SHOWN_FAULTS.
UPDATE onceload.codes_import_jobs SET validation_errors = validation_errors || $3, updated_at = now()
 WHERE id = $1 AND attempt = $2 AND status = 'loading' AND jsonb_array_length(validation_errors) < $4
   AND NOT validation_errors @> $3
