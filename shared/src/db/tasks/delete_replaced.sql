-- tasks.delete_replaced
-- A week after their end, tasks that a later one of the same kind has replaced. Of each kind the latest that is done stays, and the
-- latest failure that came after it: those are shown (tasks.exports).
DELETE FROM onceload.import_tasks
 WHERE id IN (SELECT t.id FROM onceload.import_tasks t
               WHERE t.status <> 'active' AND t.finished_at < now() - interval '7 days'
                 AND EXISTS (SELECT FROM onceload.import_tasks n
                              WHERE n.job_id = t.job_id AND n.action = t.action AND n.kind IS NOT DISTINCT FROM t.kind
                                AND n.requested_at > t.requested_at
                                AND (n.status = 'done' OR (n.status = 'failed' AND t.status = 'failed')))
               ORDER BY t.finished_at LIMIT $1 FOR UPDATE SKIP LOCKED)
