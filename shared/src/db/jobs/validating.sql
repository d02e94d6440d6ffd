-- jobs.validating
UPDATE onceload.codes_import_jobs SET status = 'validating', phase = 'validating', updated_at = now()
 WHERE id = $1 AND attempt = $2 AND status IN ('checking', 'validating') AND phase <> 'recheck'
   AND cancel_requested_at IS NULL
