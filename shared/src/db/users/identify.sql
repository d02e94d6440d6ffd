-- users.identify
-- The user of a token's claims, their merchants, and the answer if this very request was answered before. First use makes
-- the user, and later uses follow the claims; a user known with these claims is only read. A claim that is absent changes
-- nothing, but a new address is not verified before a token says so. Of several first uses at once the insert returns the
-- row to each.
WITH known AS (
    SELECT id FROM onceload.users
     WHERE subject = $1 AND ($2::text IS NULL OR email = $2) AND ($3::boolean IS NULL OR email_verified = $3)
), made AS (
    INSERT INTO onceload.users AS u (subject, email, email_verified)
    SELECT $1, $2, coalesce($3, false) WHERE NOT EXISTS (SELECT FROM known)
    ON CONFLICT ON CONSTRAINT users_subject_key DO UPDATE
       SET email = coalesce($2, u.email), email_verified = coalesce($3, u.email_verified AND ($2 IS NULL OR u.email IS NOT DISTINCT FROM $2))
    RETURNING u.id
), caller AS (
    SELECT id FROM known UNION ALL SELECT id FROM made
), replayed AS (
    UPDATE onceload.idempotency_keys k SET replays = k.replays + 1 FROM caller
     WHERE k.user_id = caller.id AND k.key = $4 AND k.fingerprint = $5
       AND k.expires_at > now() AND k.response_status IS NOT NULL
    RETURNING k.response_status, k.response_headers, k.response_body
)
SELECT caller.id, ARRAY(SELECT m.merchant_id FROM onceload.merchant_members m WHERE m.user_id = caller.id) AS merchants,
       replayed.response_status, replayed.response_headers, replayed.response_body,
       -- A replay writes nothing but a count, which a crash of the server may lose: nobody waits for the disk.
       CASE WHEN replayed.response_status IS NOT NULL THEN set_config('synchronous_commit', 'off', true) END AS commits
  FROM caller LEFT JOIN replayed ON true
