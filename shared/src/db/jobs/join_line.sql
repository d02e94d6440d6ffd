-- jobs.join_line
-- A pending job keeps its place by its arrival, however often it comes. $4 wakes it, unless a later call ($5, $6) has brought a
-- token; before it sleeps it has none. A job that was queued with the lease needs no place.
UPDATE onceload.codes_import_jobs
   SET phase = 'waiting_for_merchant', split_points = coalesce($3, split_points), task_token = coalesce($4, task_token),
       token_entered_at = CASE WHEN $4::text IS NULL THEN token_entered_at ELSE $5 END,
       token_retry_count = CASE WHEN $4::text IS NULL THEN token_retry_count ELSE $6 END,
       updated_at = now(), heartbeat_at = now()
 WHERE id = $1 AND attempt = $2 AND status = 'pending' AND NOT leased AND cancel_requested_at IS NULL
   AND ($4::text IS NULL OR token_entered_at IS NULL OR (token_entered_at, token_retry_count) < ($5, $6))
