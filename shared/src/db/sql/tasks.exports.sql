-- tasks.exports
-- The latest export of each kind in each state, and the list that a rollback has left.
SELECT DISTINCT ON (1, t.status) coalesce(t.kind, 'claimed') AS kind, t.status, t.requested_at, t.finished_at, t.result, t.error_message
  FROM import_tasks t
 WHERE t.job_id = $1
   AND (t.action = 'export' OR (t.action = 'rollback' AND t.status = 'done' AND t.result -> 'files' <> '[]'))
 ORDER BY 1, t.status, t.requested_at DESC
