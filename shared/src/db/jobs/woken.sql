-- jobs.woken
-- Its token is used up: until it sleeps again, nobody wakes it.
UPDATE onceload.codes_import_jobs SET task_token = NULL
 WHERE id = $1 AND status = 'pending' AND task_token = $2
