-- jobs.supersede
-- Fences off the user's stuck job ($1), and the job that holds this merchant's lease ($2) if it has been silent for $4 seconds:
-- the attempt refuses whatever their executions still try. What is inserted stays inserted.
UPDATE onceload.codes_import_jobs
   SET status = 'failed', phase = 'superseded', attempt = attempt + 1, leased = false, finished_at = now(),
       error_message = 'superseded by import ' || $3::text || format(': this one was silent for %s minutes', round($4 / 60)),
       updated_at = now()
 WHERE (id = $1 OR (merchant_id = $2 AND leased
                    AND coalesce(heartbeat_at, approved_at, created_at) <= now() - make_interval(secs => $4)))
   AND inserted_at IS NULL AND finished_at IS NULL AND status <> 'awaiting_approval'
RETURNING id, merchant_id, execution_arn
