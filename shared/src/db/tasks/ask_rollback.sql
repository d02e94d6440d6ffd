-- tasks.ask_rollback
-- Takes the merchant's lease: the unique index refuses while an import works.
WITH job AS (
    UPDATE onceload.codes_import_jobs SET leased = true, asked_at = NULL, phase = 'rolling_back', heartbeat_at = now(), updated_at = now()
     WHERE id = $1 AND merchant_id = ANY ($2) AND status = 'completed' AND NOT leased
    RETURNING id
)
INSERT INTO onceload.import_tasks (job_id, action, claimed, requested_by) SELECT id, 'rollback', $4, $3 FROM job
RETURNING id
