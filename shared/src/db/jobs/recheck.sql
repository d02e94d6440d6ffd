-- jobs.recheck
-- Back to checking: production moved. Validation finds out whether the approval still is for the codes that are clean.
UPDATE onceload.codes_import_jobs
   SET status = 'checking', phase = 'recheck', recheck_count = recheck_count + 1,
       validation_passed = NULL, task_token = NULL, updated_at = now()
 WHERE id = $1 AND attempt = $2 AND status IN ('validating', 'processing')
   AND inserted_at IS NULL AND cancel_requested_at IS NULL
