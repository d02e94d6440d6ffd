-- jobs.take_lease
-- The partial unique index on `leased` decides; who came earlier and still asks goes first. A job that was queued with
-- the lease has it already.
UPDATE onceload.codes_import_jobs j SET status = 'loading', phase = 'loading', leased = true, split_points = $3,
       updated_at = now(), heartbeat_at = now()
 WHERE id = $1 AND attempt = $2 AND status = 'pending' AND cancel_requested_at IS NULL
   AND (j.leased OR NOT EXISTS (
       SELECT FROM onceload.codes_import_jobs o
        WHERE o.merchant_id = j.merchant_id AND o.status = 'pending' AND o.phase = 'waiting_for_merchant'
          AND (o.created_at, o.id) < (j.created_at, j.id) AND o.heartbeat_at > now() - interval '5 minutes'))
