-- tasks.fence
-- Whoever gives the task up changes this row: it waits for us, or we see it.
SELECT 1 FROM onceload.import_tasks WHERE id = $1 AND status = 'active' FOR SHARE
