-- What people ask of an import that is over or waits: a rollback, another verification, exports. One row is one
-- asking and one execution of the state machine `maintenance`, which is named by it.
CREATE TABLE import_tasks (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    job_id        uuid        NOT NULL REFERENCES codes_import_jobs,
    requested_by  uuid        REFERENCES users,          -- null: the end of the import asked for it
    requested_at  timestamptz NOT NULL DEFAULT now(),
    heartbeat_at  timestamptz NOT NULL DEFAULT now(),
    finished_at   timestamptz,
    action        text        NOT NULL,
    kind          text,                                  -- of an export
    claimed       text,                                  -- of a rollback: what becomes of codes that were claimed since
    status        text        NOT NULL DEFAULT 'active',
    result        jsonb,                                 -- what it came to; of an export, its files
    error_message text,
    CONSTRAINT import_tasks_action CHECK (action IN ('rollback', 'verify', 'export')),
    CONSTRAINT import_tasks_kind CHECK (
        CASE action WHEN 'export' THEN kind IS NOT NULL AND kind IN ('duplicates', 'report', 'rejects') ELSE kind IS NULL END),
    CONSTRAINT import_tasks_claimed CHECK (
        CASE action WHEN 'rollback' THEN claimed IS NOT NULL AND claimed IN ('keep', 'delete') ELSE claimed IS NULL END),
    CONSTRAINT import_tasks_status CHECK (status IN ('active', 'done', 'failed')),
    CONSTRAINT import_tasks_finished CHECK ((status = 'active') = (finished_at IS NULL)),
    CONSTRAINT import_tasks_done_has_result CHECK (status <> 'done' OR result IS NOT NULL),
    CONSTRAINT import_tasks_failed_says_why CHECK (status <> 'failed' OR error_message IS NOT NULL)
);
-- The same thing is done once at a time: asked twice, it is one task.
CREATE UNIQUE INDEX import_tasks_one_active ON import_tasks (job_id, action, coalesce(kind, '')) WHERE status = 'active';
CREATE INDEX import_tasks_job ON import_tasks (job_id, requested_at);
CREATE INDEX import_tasks_active ON import_tasks (heartbeat_at) WHERE status = 'active';

-- What a rollback did, in the transaction that did it.
ALTER TABLE codes_import_jobs
    ADD COLUMN codes_deleted bigint,
    ADD COLUMN codes_kept    bigint,
    ADD CONSTRAINT codes_import_jobs_rollback_counted CHECK (
        status <> 'rolled_back' OR (codes_deleted IS NOT NULL AND codes_kept IS NOT NULL));

ALTER TABLE outbox DROP CONSTRAINT outbox_kind;
ALTER TABLE outbox ADD CONSTRAINT outbox_kind CHECK (kind IN ('start_execution', 'stop_execution', 'task_success',
    'task_failure', 'state_changed', 'start_maintenance'));
