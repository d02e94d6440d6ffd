-- outbox.take
-- A function that takes a message and dies leaves it to the sweep.
UPDATE onceload.outbox SET attempts = attempts + 1, next_attempt_at = now() + interval '30 seconds'
 WHERE id IN (SELECT id FROM onceload.outbox
               WHERE id = ANY ($1) AND kind = ANY ($2) AND delivered_at IS NULL AND given_up_at IS NULL AND next_attempt_at <= now()
               ORDER BY id FOR UPDATE SKIP LOCKED)
RETURNING id, job_id, kind, payload, extract(epoch FROM now() - created_at)::float8 AS age_seconds
