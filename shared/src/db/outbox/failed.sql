-- outbox.failed
-- `attempts` counts this one. An outage of ten minutes costs at most five more.
UPDATE onceload.outbox
   SET last_error = left($2, 2000),
       next_attempt_at = now() + least(interval '5 minutes', interval '10 seconds' * 2 ^ least(greatest(attempts, 1) - 1, 10))
 WHERE id = $1 AND delivered_at IS NULL AND given_up_at IS NULL
