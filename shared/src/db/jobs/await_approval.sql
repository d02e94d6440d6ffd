-- jobs.await_approval
-- Token and state in one statement. A repeated task brings a new token for the same wait; an approval given meanwhile stands. A
-- call that was overtaken by a later one ($4, $5) writes nothing.
UPDATE onceload.codes_import_jobs
   SET status = 'awaiting_approval', leased = false, task_token = $3, token_entered_at = $4, token_retry_count = $5,
       phase = CASE WHEN approved_at IS NULL THEN 'awaiting_approval' ELSE 'waiting_for_merchant' END,
       awaiting_since = coalesce(CASE WHEN status = 'awaiting_approval' THEN awaiting_since END, now()),
       updated_at = now()
 WHERE id = $1 AND attempt = $2 AND status IN ('validating', 'awaiting_approval') AND validation_passed
   AND cancel_requested_at IS NULL
   AND (token_entered_at IS NULL OR (token_entered_at, token_retry_count) < ($4, $5))
