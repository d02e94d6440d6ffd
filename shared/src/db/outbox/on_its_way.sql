-- outbox.on_its_way
-- Step Functions finds an execution only a while after it was started.
SELECT EXISTS (SELECT FROM onceload.outbox
                WHERE job_id = $1 AND kind = $2 AND payload = $3 AND given_up_at IS NULL
                  AND (delivered_at IS NULL OR delivered_at > now() - interval '10 minutes')) AS on_its_way
