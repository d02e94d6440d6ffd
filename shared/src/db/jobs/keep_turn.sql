-- jobs.keep_turn
UPDATE onceload.codes_import_jobs SET asked_at = clock_timestamp() WHERE id = $1 AND merchant_id = ANY ($2)
