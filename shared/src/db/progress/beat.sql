-- progress.beat
-- A beat waits for no row: what somebody else is writing, the next beat writes. The parts of one step share the job's row, and
-- one of them writes it per second. Counts are written if there are any ($4).
WITH job AS (
    SELECT cancel_requested_at IS NOT NULL AS cancel_requested
      FROM onceload.codes_import_jobs WHERE id = $1 AND attempt = $2 AND status = $3
), due AS (
    SELECT id FROM onceload.codes_import_jobs
     WHERE id = $1 AND attempt = $2 AND status = $3
       AND coalesce(heartbeat_at < now() - interval '900 milliseconds', true)
       FOR NO KEY UPDATE SKIP LOCKED
), beat AS (
    UPDATE onceload.codes_import_jobs j SET heartbeat_at = now() FROM due WHERE j.id = due.id
    RETURNING j.id, j.created_by
), profile AS (
    -- A user who imports is not stuck while a step beats.
    SELECT p.user_id FROM onceload.user_profiles p JOIN beat b ON p.user_id = b.created_by AND p.job_id = b.id
     WHERE p.import_status = 'processing' FOR NO KEY UPDATE OF p SKIP LOCKED
), user_beat AS (
    UPDATE onceload.user_profiles p SET heartbeat_at = now() FROM profile WHERE p.user_id = profile.user_id
), progress AS (
    INSERT INTO onceload.import_progress AS p (job_id, attempt, step, part, rows_done, bytes_done)
    SELECT $1, $2, $4, $5, $6, $7 FROM job WHERE $4::text IS NOT NULL
    ON CONFLICT (job_id, step, part) DO UPDATE
       SET attempt = EXCLUDED.attempt, rows_done = EXCLUDED.rows_done, bytes_done = EXCLUDED.bytes_done,
           updated_at = now(),
           started_at = CASE WHEN EXCLUDED.rows_done < p.rows_done THEN now() ELSE p.started_at END
)
SELECT cancel_requested FROM job
