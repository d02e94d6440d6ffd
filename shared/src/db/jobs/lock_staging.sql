-- jobs.lock_staging
-- Until the transaction ends. Not the row: loading takes minutes, and a rollback or another verification needs it.
SELECT pg_try_advisory_xact_lock(hashtextextended('onceload staging ' || $1::uuid::text, 0)) AS locked
