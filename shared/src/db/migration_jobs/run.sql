-- migration_jobs.run
-- The partial unique index on the active states decides: of many at once one inserts, the others find it.
INSERT INTO onceload.migration_jobs (id, user_id, merchant_id, base_idempotency_key, idempotency_key, mapping)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (base_idempotency_key) WHERE status IN ('pending', 'processing') DO NOTHING
RETURNING id
