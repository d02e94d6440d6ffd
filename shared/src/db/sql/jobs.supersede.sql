-- jobs.supersede
-- Fenced off: whatever its execution still tries is refused by the attempt. What is inserted stays inserted.
-- $1: the user's stuck job; $2: or whichever holds this merchant's lease and has been silent for 15 minutes.
UPDATE codes_import_jobs
   SET status = 'failed', phase = 'superseded', attempt = attempt + 1, leased = false, finished_at = now(),
       error_message = 'superseded by import ' || $3::text || ': nothing was heard of this one for 15 minutes',
       updated_at = now()
 WHERE (id = $1 OR (merchant_id = $2 AND leased
                    AND coalesce(heartbeat_at, approved_at, created_at) <= now() - interval '15 minutes'))
   AND inserted_at IS NULL AND status IN ('pending', 'loading', 'checking', 'validating', 'processing')
RETURNING id, execution_arn, created_by
