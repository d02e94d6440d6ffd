-- outbox.line
-- What the line of this job's merchant has been promised (trigger codes_import_jobs_line), by this transaction or another.
SELECT o.id FROM onceload.outbox o JOIN onceload.codes_import_jobs j ON j.id = o.job_id
 WHERE o.kind = 'task_success' AND o.delivered_at IS NULL AND o.given_up_at IS NULL AND o.next_attempt_at <= now()
   AND j.finished_at IS NULL AND j.merchant_id = (SELECT merchant_id FROM onceload.codes_import_jobs WHERE id = $1)
 ORDER BY o.id
