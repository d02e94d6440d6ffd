-- jobs.recheck
-- Back to checking: production moved. The approval was for other numbers, so it is void.
UPDATE onceload.codes_import_jobs
   SET status = 'checking', phase = 'recheck', recheck_count = recheck_count + 1,
       approved_at = NULL, approved_by = NULL, accept_duplicates = false, task_token = NULL, updated_at = now()
 WHERE id = $1 AND attempt = $2 AND status IN ('validating', 'processing')
   AND inserted_at IS NULL AND cancel_requested_at IS NULL
