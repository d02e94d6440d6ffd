-- tasks.silent
-- Tasks that an execution should be working on.
SELECT id, job_id, action FROM onceload.import_tasks
 WHERE status = 'active' AND heartbeat_at < now() - make_interval(secs => $1) ORDER BY requested_at LIMIT 500
