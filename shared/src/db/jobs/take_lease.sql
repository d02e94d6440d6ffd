-- jobs.take_lease
-- Under the line's lock: the first in line takes the lease, if nobody has it. A job that was queued with the lease has it
-- already.
UPDATE onceload.codes_import_jobs j
   SET status = 'loading', phase = 'loading', leased = true, split_points = $3, task_token = NULL,
       updated_at = now(), heartbeat_at = now()
 WHERE id = $1 AND attempt = $2 AND status = 'pending' AND cancel_requested_at IS NULL
   AND (j.leased
        OR (j.id = onceload.next_to_go(j.merchant_id)
            AND NOT EXISTS (SELECT FROM onceload.codes_import_jobs o WHERE o.merchant_id = j.merchant_id AND o.leased)))
RETURNING id
