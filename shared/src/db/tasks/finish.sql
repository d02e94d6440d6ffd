-- tasks.finish
UPDATE onceload.import_tasks SET status = 'done', result = $2, finished_at = now() WHERE id = $1 AND status = 'active'
