-- outbox.start
SELECT id FROM onceload.outbox
 WHERE job_id = $1 AND kind = 'start_execution' AND delivered_at IS NULL AND given_up_at IS NULL AND next_attempt_at <= now()
 ORDER BY id
