-- jobs.replace_token
-- Approved while the waiting task was being repeated: the approval goes to the new token.
UPDATE onceload.codes_import_jobs SET task_token = $3
 WHERE id = $1 AND attempt = $2 AND status = 'processing' AND inserted_at IS NULL
