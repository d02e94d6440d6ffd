-- tasks.exports
-- The latest export of each kind in each state, and the list of what a rollback has kept.
SELECT DISTINCT ON (1, t.status) coalesce(t.kind, 'claimed') AS kind, t.status, t.requested_at, t.finished_at, t.result, t.error_message
  FROM onceload.import_tasks t
  JOIN onceload.codes_import_jobs j ON j.id = t.job_id
 WHERE t.job_id = $1
   AND (t.action = 'export' OR (t.action = 'rollback' AND j.status = 'rolled_back' AND j.codes_kept > 0))
 ORDER BY 1, t.status, t.requested_at DESC
