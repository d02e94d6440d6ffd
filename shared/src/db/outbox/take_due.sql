-- outbox.take_due
-- Taken for half a minute; who takes it and dies leaves it to the next.
UPDATE onceload.outbox SET attempts = attempts + 1, next_attempt_at = now() + interval '30 seconds'
 WHERE id IN (SELECT id FROM onceload.outbox
               WHERE delivered_at IS NULL AND next_attempt_at <= now() AND ($1::bigint IS NULL OR id = $1)
               ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED)
RETURNING id, job_id, kind, payload, attempts
