-- tasks.active
SELECT id, claimed FROM onceload.import_tasks
 WHERE job_id = $1 AND action = $2 AND kind IS NOT DISTINCT FROM $3 AND status = 'active'
