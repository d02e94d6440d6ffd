-- jobs.inserting
-- The execution has heard of the approval: nobody needs to wake it any more.
UPDATE onceload.codes_import_jobs SET task_token = NULL, heartbeat_at = now()
 WHERE id = $1 AND attempt = $2 AND status = 'processing' AND cancel_requested_at IS NULL
