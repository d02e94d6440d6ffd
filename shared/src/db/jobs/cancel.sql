-- jobs.cancel
-- A waiting job is over at once. A working one is asked to stop. What is inserted stays.
UPDATE onceload.codes_import_jobs
   SET cancel_requested_at = coalesce(cancel_requested_at, now()), updated_at = now(),
       status = CASE WHEN status IN ('pending', 'awaiting_approval') THEN 'cancelled' ELSE status END,
       phase = CASE WHEN status IN ('pending', 'awaiting_approval') THEN 'cancelled' ELSE 'cancelling' END,
       leased = leased AND status NOT IN ('pending', 'awaiting_approval'),
       finished_at = CASE WHEN status IN ('pending', 'awaiting_approval') THEN now() END
 WHERE id = $1 AND merchant_id = ANY ($2) AND inserted_at IS NULL
   AND finished_at IS NULL
RETURNING status, attempt, task_token
