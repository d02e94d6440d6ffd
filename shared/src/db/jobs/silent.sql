-- jobs.silent
-- Jobs that an execution should be working on, those that hold a lease first. Their executions are looked up one by one.
SELECT id, attempt, execution_arn, status
  FROM onceload.codes_import_jobs
 WHERE finished_at IS NULL
   AND updated_at < now() - make_interval(secs => $1)
   AND coalesce(heartbeat_at, updated_at) < now() - make_interval(secs => $1)
 ORDER BY leased DESC, created_at LIMIT 500
