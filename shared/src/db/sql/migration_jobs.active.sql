-- migration_jobs.active
SELECT id FROM migration_jobs WHERE base_idempotency_key = $1 AND status IN ('pending', 'processing')
