-- outbox.failed
UPDATE onceload.outbox SET last_error = $2,
       next_attempt_at = now() + least(interval '1 hour', interval '10 seconds' * 2 ^ least(attempts, 10))
 WHERE id = $1
