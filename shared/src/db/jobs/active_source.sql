-- jobs.active_source
SELECT id FROM onceload.codes_import_jobs WHERE merchant_id = $1 AND source_fingerprint = $2
   AND finished_at IS NULL LIMIT 1
