-- outbox.delivered
UPDATE onceload.outbox SET delivered_at = now(), last_error = NULL WHERE id = $1
