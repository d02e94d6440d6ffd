-- progress.delete_finished
-- A day after the job has ended; a rollback or an export of it may report anew.
DELETE FROM onceload.import_progress
 WHERE (job_id, step, part) IN (
       SELECT p.job_id, p.step, p.part FROM onceload.import_progress p JOIN onceload.codes_import_jobs j ON j.id = p.job_id
        WHERE j.finished_at < now() - interval '1 day' AND p.updated_at < now() - interval '1 day'
        LIMIT $1)
