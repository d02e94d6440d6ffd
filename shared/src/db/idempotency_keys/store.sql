-- idempotency_keys.store
UPDATE onceload.idempotency_keys SET response_status = $3, response_headers = $4, response_body = $5
 WHERE user_id = $1 AND key = $2 AND response_status IS NULL
