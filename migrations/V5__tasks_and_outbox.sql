-- Tasks on an import that has ended or is waiting: a rollback, another verification, an export. One row is one execution of the
-- state machine `maintenance`, which is named by it.
CREATE TABLE onceload.import_tasks (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    job_id        uuid        NOT NULL REFERENCES onceload.codes_import_jobs,
    requested_by  uuid        REFERENCES onceload.users,          -- null: the end of the import asked for it
    requested_at  timestamptz NOT NULL DEFAULT now(),
    heartbeat_at  timestamptz NOT NULL DEFAULT now(),
    looked_at     timestamptz,                           -- when the sweep last looked its execution up
    finished_at   timestamptz,
    action        text        NOT NULL,
    kind          text,                                  -- of an export
    claimed       text,                                  -- of a rollback: what becomes of codes that were claimed since
    status        text        NOT NULL DEFAULT 'active',
    result        jsonb,                                 -- what it came to; of an export, its files
    error_type    text,                                  -- the errorType that its step failed with; null: its execution is gone
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
-- Asked for twice, a task is one task while it is active.
CREATE UNIQUE INDEX import_tasks_one_active ON onceload.import_tasks (job_id, action, coalesce(kind, '')) WHERE status = 'active';
CREATE INDEX import_tasks_job ON onceload.import_tasks (job_id, requested_at);
CREATE INDEX import_tasks_finished ON onceload.import_tasks (finished_at) WHERE status <> 'active';
CREATE INDEX import_tasks_active ON onceload.import_tasks (heartbeat_at) WHERE status = 'active';

-- Effects outside the database that a committed transaction has promised. They are delivered right after the commit, or by
-- the sweep. Delivering twice is harmless: each is named by job and attempt.
CREATE TABLE onceload.outbox (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id          uuid        NOT NULL REFERENCES onceload.codes_import_jobs,
    created_at      timestamptz NOT NULL DEFAULT now(),
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    delivered_at    timestamptz,
    given_up_at     timestamptz,                          -- it could not be delivered for a day
    attempts        integer     NOT NULL DEFAULT 0,
    kind            text        NOT NULL,
    payload         jsonb       NOT NULL,
    last_error      text,
    CONSTRAINT outbox_kind CHECK (kind IN ('start_execution', 'stop_execution', 'task_success',
        'task_failure', 'state_changed', 'start_maintenance'))
);
CREATE INDEX outbox_undelivered ON onceload.outbox (next_attempt_at) WHERE delivered_at IS NULL AND given_up_at IS NULL;
CREATE INDEX outbox_job ON onceload.outbox (job_id);
-- For retention.
CREATE INDEX outbox_created_at ON onceload.outbox (created_at);
