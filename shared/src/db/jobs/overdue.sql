-- jobs.overdue
SELECT id, attempt FROM onceload.codes_import_jobs
 WHERE status = 'awaiting_approval' AND approved_at IS NULL AND awaiting_since < now() - make_interval(secs => $1) LIMIT 500
