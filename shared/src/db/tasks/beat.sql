-- tasks.beat
-- No row means that the task is over, and its step stops. Counts are written if there are any ($2).
WITH task AS (
    UPDATE onceload.import_tasks SET heartbeat_at = now() WHERE id = $1 AND status = 'active' RETURNING job_id
), job AS (
    UPDATE onceload.codes_import_jobs j SET heartbeat_at = now() FROM task
     WHERE j.id = task.job_id AND j.status = 'completed' AND j.leased
), progress AS (
    INSERT INTO onceload.import_progress AS p (job_id, attempt, step, part, rows_done, bytes_done)
    SELECT j.id, j.attempt, $2, $3, $4, $5 FROM task JOIN onceload.codes_import_jobs j ON j.id = task.job_id
     WHERE $2::text IS NOT NULL
    ON CONFLICT (job_id, step, part) DO UPDATE
       SET attempt = EXCLUDED.attempt, rows_done = EXCLUDED.rows_done, bytes_done = EXCLUDED.bytes_done,
           updated_at = now(),
           started_at = CASE WHEN EXCLUDED.rows_done < p.rows_done THEN now() ELSE p.started_at END
)
SELECT false AS cancel_requested FROM task
