-- idempotency_keys.claim
SELECT same, response_status, response_headers, response_body FROM claim_idempotency_key($1, $2, $3)
