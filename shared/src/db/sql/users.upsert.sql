-- users.upsert
-- First use makes the user; later uses follow the claims. A statement that changes nothing writes nothing.
WITH made AS (
    INSERT INTO users AS u (subject, email, email_verified) VALUES ($1, $2, $3)
    ON CONFLICT ON CONSTRAINT users_subject_key DO UPDATE
       SET email = EXCLUDED.email, email_verified = EXCLUDED.email_verified
     WHERE (u.email, u.email_verified) IS DISTINCT FROM (EXCLUDED.email, EXCLUDED.email_verified)
    RETURNING id
), found AS (
    SELECT id FROM made UNION ALL SELECT id FROM users WHERE subject = $1 LIMIT 1
)
SELECT id, ARRAY(SELECT merchant_id FROM merchant_members m WHERE m.user_id = found.id) AS merchants FROM found
