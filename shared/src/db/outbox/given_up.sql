-- outbox.given_up
UPDATE onceload.outbox SET given_up_at = now() WHERE id = $1 AND delivered_at IS NULL AND given_up_at IS NULL
