-- idempotency_keys.claim
-- The first request with a key writes the row; a duplicate waits on it until the first has committed or is gone, then sees
-- its answer. A claim that was won, new or over an expired one, is a row without a response. A user who holds $4 keys, or $5
-- bytes of answers, gets no new one until the first expires. Requests at the same time don't see each other's: so many may be more.
WITH held AS (
    SELECT count(*) < $4 AND coalesce(sum(octet_length(response_body)), 0) < $5 AS has_room,
           extract(epoch FROM min(expires_at) - now())::float8 AS seconds
      FROM onceload.idempotency_keys WHERE user_id = $1 AND expires_at > now()
), claimed AS (
    INSERT INTO onceload.idempotency_keys AS k (user_id, key, fingerprint)
    SELECT $1, $2, $3 FROM held
     WHERE has_room
        OR EXISTS (SELECT FROM onceload.idempotency_keys o WHERE o.user_id = $1 AND o.key = $2 AND o.expires_at > now())
    ON CONFLICT (user_id, key) DO UPDATE
       SET fingerprint = CASE WHEN k.expires_at <= now() THEN EXCLUDED.fingerprint ELSE k.fingerprint END,
           created_at = CASE WHEN k.expires_at <= now() THEN now() ELSE k.created_at END,
           response_status = CASE WHEN k.expires_at > now() THEN k.response_status END,
           response_headers = CASE WHEN k.expires_at > now() THEN k.response_headers END,
           response_body = CASE WHEN k.expires_at > now() THEN k.response_body END,
           replays = CASE WHEN k.expires_at <= now() THEN 0
                          WHEN k.fingerprint = EXCLUDED.fingerprint THEN k.replays + 1 ELSE k.replays END,
           expires_at = CASE WHEN k.expires_at <= now() THEN EXCLUDED.expires_at ELSE k.expires_at END
    RETURNING k.fingerprint = $3 AS same, k.response_status, k.response_headers, k.response_body
)
SELECT claimed.*, held.seconds FROM held LEFT JOIN claimed ON true
