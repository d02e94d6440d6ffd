-- jobs.active_source
SELECT id FROM codes_import_jobs WHERE merchant_id = $1 AND source_fingerprint = $2
   AND status NOT IN ('completed', 'rolled_back', 'failed', 'cancelled', 'expired') LIMIT 1
