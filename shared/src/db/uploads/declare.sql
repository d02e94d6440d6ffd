-- uploads.declare
-- A new upload, or the same one again: its user may have fresh links for what they declared and have not completed.
-- No id: the key is taken, or ($8 of the user, $9 of the merchant) too many wait to be sent. Those whose links have run out
-- don't count.
WITH waiting AS (
    SELECT count(*) FILTER (WHERE user_id = $3) < $8 AND count(*) < $9 AS has_room,
           extract(epoch FROM min(expires_at) - now())::float8 AS seconds
      FROM onceload.uploads WHERE merchant_id = $2 AND status = 'open' AND expires_at > now()
), declared AS (
    INSERT INTO onceload.uploads AS u (id, merchant_id, user_id, key, size, part_size, expires_at)
    SELECT $1, $2, $3, $4, $5, $6, now() + $7 * interval '1 second' FROM waiting
     WHERE has_room OR EXISTS (SELECT FROM onceload.uploads o WHERE o.key = $4)
    ON CONFLICT ON CONSTRAINT uploads_key_key DO UPDATE
       SET expires_at = EXCLUDED.expires_at
     WHERE u.status = 'open' AND (u.merchant_id, u.user_id, u.size) = (EXCLUDED.merchant_id, EXCLUDED.user_id, EXCLUDED.size)
    RETURNING id, key, size, part_size, multipart_id, expires_at
)
SELECT declared.*, waiting.has_room, waiting.seconds FROM waiting LEFT JOIN declared ON true
