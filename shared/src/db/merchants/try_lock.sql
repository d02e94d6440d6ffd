-- merchants.try_lock
-- One inserter per merchant, whatever the job rows say. Released with the transaction.
SELECT pg_try_advisory_xact_lock(hashtextextended('onceload insert ' || $1::uuid::text, 0)) AS locked
