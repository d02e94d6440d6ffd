-- jobs.end
-- failed, cancelled or expired; never once the codes are in. A cancel request wins over a failure, and only a waiting job can expire.
-- An approval that its execution has not heard of yet wins over the time-out: the import goes on. $6: leave a job that no longer waits
-- alone.
UPDATE onceload.codes_import_jobs
   SET status = e.status, phase = e.status, leased = false, finished_at = now(),
       error_message = coalesce($4, error_message),
       validation_errors = CASE WHEN jsonb_array_length($5) > 0 THEN $5 ELSE validation_errors END, updated_at = now()
  FROM (SELECT id, CASE WHEN cancel_requested_at IS NOT NULL THEN 'cancelled'
                        WHEN $3 = 'expired' AND status <> 'awaiting_approval' AND (approved_at IS NULL OR task_token IS NULL)
                        THEN 'failed'
                        ELSE $3 END AS status
          FROM onceload.codes_import_jobs WHERE id = $1 FOR UPDATE) e
 WHERE codes_import_jobs.id = e.id AND attempt = $2 AND inserted_at IS NULL
   AND codes_import_jobs.finished_at IS NULL
   AND (NOT $6 OR codes_import_jobs.status = 'awaiting_approval')
   AND NOT (e.status = 'expired' AND approved_at IS NOT NULL)
RETURNING codes_import_jobs.status
