-- progress.beat
WITH job AS (
    UPDATE onceload.codes_import_jobs SET heartbeat_at = now()
     WHERE id = $1 AND attempt = $2 AND status = $3
    RETURNING cancel_requested_at IS NOT NULL AS cancel_requested, created_by
), progress AS (
    INSERT INTO onceload.import_progress AS p (job_id, attempt, step, part, rows_done, bytes_done)
    SELECT $1, $2, $4, $5, $6, $7 FROM job
    ON CONFLICT (job_id, step, part) DO UPDATE
       SET attempt = EXCLUDED.attempt, rows_done = EXCLUDED.rows_done, bytes_done = EXCLUDED.bytes_done,
           updated_at = now(),
           started_at = CASE WHEN EXCLUDED.rows_done < p.rows_done THEN now() ELSE p.started_at END
)
SELECT cancel_requested, created_by FROM job
