-- uploads.declare
-- A new upload, or the same one again: its user may have fresh links for what they declared and have not completed.
-- No row: the key is taken.
INSERT INTO onceload.uploads AS u (id, merchant_id, user_id, key, size, part_size, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, now() + $7 * interval '1 second')
ON CONFLICT ON CONSTRAINT uploads_key_key DO UPDATE
   SET expires_at = EXCLUDED.expires_at
 WHERE u.status = 'open' AND (u.merchant_id, u.user_id, u.size) = (EXCLUDED.merchant_id, EXCLUDED.user_id, EXCLUDED.size)
RETURNING id, key, size, part_size, multipart_id, expires_at
