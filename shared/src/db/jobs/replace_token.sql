-- jobs.replace_token
-- Approved while the waiting task was being repeated: the approval goes to the new token, but never to an older one. Without a token,
-- the execution is awake.
UPDATE onceload.codes_import_jobs SET task_token = $3, token_entered_at = $4, token_retry_count = $5
 WHERE id = $1 AND attempt = $2 AND status = 'processing' AND inserted_at IS NULL AND task_token IS NOT NULL
   AND (token_entered_at IS NULL OR (token_entered_at, token_retry_count) < ($4, $5))
