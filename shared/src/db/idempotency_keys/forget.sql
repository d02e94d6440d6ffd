-- idempotency_keys.forget
-- What the stored answer promised can't be kept: the key may be used again.
DELETE FROM onceload.idempotency_keys WHERE user_id = $1 AND key = $2
