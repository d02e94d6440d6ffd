-- jobs.wait
UPDATE onceload.codes_import_jobs SET phase = 'waiting_for_merchant', heartbeat_at = now()
 WHERE id = $1 AND attempt = $2 AND status = 'pending' AND cancel_requested_at IS NULL
