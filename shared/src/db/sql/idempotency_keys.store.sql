-- idempotency_keys.store
SELECT store_answer($1, $2, $3, $4, $5)
