-- jobs.await_approval
-- Token and state in one statement. A repeated task brings a new token for the same wait; an approval given meanwhile stands.
UPDATE onceload.codes_import_jobs
   SET status = 'awaiting_approval', leased = false, task_token = $3,
       phase = CASE WHEN approved_at IS NULL THEN 'awaiting_approval' ELSE 'waiting_for_merchant' END,
       awaiting_since = coalesce(CASE WHEN status = 'awaiting_approval' THEN awaiting_since END, now()),
       updated_at = now()
 WHERE id = $1 AND attempt = $2 AND status IN ('validating', 'awaiting_approval') AND validation_passed
   AND cancel_requested_at IS NULL
