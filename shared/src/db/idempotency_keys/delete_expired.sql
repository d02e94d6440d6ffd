-- idempotency_keys.delete_expired
-- A batch. What another run deletes, or a request takes over, is theirs.
DELETE FROM onceload.idempotency_keys
 WHERE (user_id, key) IN (SELECT user_id, key FROM onceload.idempotency_keys WHERE expires_at <= now()
                           ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED)
