-- outbox.delete_settled
DELETE FROM onceload.outbox
 WHERE id IN (SELECT id FROM onceload.outbox
               WHERE created_at < now() - interval '7 days' AND (delivered_at IS NOT NULL OR given_up_at IS NOT NULL)
               ORDER BY created_at LIMIT $1 FOR UPDATE SKIP LOCKED)
