-- migration_jobs.active
SELECT id FROM onceload.migration_jobs WHERE base_idempotency_key = $1 AND status IN ('pending', 'processing')
