-- tasks.give_up
-- The task failed for good. A rollback that did not come to pass gives the merchant's lease back.
WITH task AS (
    UPDATE onceload.import_tasks SET status = 'failed', error_type = $2, error_message = $3, finished_at = now()
     WHERE id = $1 AND status = 'active'
    RETURNING job_id, action
), lease AS (
    UPDATE onceload.codes_import_jobs j SET leased = false, phase = 'completed', updated_at = now()
      FROM task WHERE j.id = task.job_id AND task.action = 'rollback' AND j.status = 'completed'
)
SELECT job_id FROM task
