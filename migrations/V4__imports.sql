-- The life of an import. One row per job, never deleted; every change of `status` is one guarded UPDATE.

CREATE TABLE onceload.codes_import_jobs (
    id                   uuid PRIMARY KEY,                         -- UUIDv7: time-ordered
    merchant_id          uuid        NOT NULL REFERENCES onceload.merchants,
    status               text        NOT NULL DEFAULT 'pending',
    phase                text        NOT NULL DEFAULT 'registered', -- finer than status, for people
    attempt              integer     NOT NULL DEFAULT 1,           -- fencing token: rises on retry, mend, supersede, StagingLost, unheard approval
    -- Holds the merchant's lease: one job of a merchant at a time may (unique index below).
    leased               boolean     NOT NULL DEFAULT false,
    created_at           timestamptz NOT NULL DEFAULT now(),
    created_by           uuid        REFERENCES onceload.users,             -- null: an upload started it
    updated_at           timestamptz NOT NULL DEFAULT now(),
    heartbeat_at         timestamptz,
    cancel_requested_at  timestamptz,
    awaiting_since       timestamptz,
    approved_at          timestamptz,
    asked_at             timestamptz,                              -- a person was told that the merchant is busy: the lease is kept for them
    approved_by          uuid        REFERENCES onceload.users,
    -- The approval is for these codes: it stands while the same ones are clean, and is void once others are.
    approved_clean       bigint,
    approved_checksum    bigint,
    inserted_at          timestamptz,                              -- the codes are in, whatever happens after
    completed_at         timestamptz,
    rolled_back_at       timestamptz,
    finished_at          timestamptz,                              -- entered a final state; staging is kept 7 days from here
    staging_cleared_at   timestamptz,

    source_info          jsonb       NOT NULL,                     -- the door it came through, and what was asked; 20 keys at most
    files_asked          text[] COLLATE "C",                       -- every key that was asked for, until the files are frozen
    source_event_key     text,                                     -- bucket, key, version of the S3 event
    source_fingerprint   text,                                     -- frozen (key, version) pairs + mapping
    mapping              jsonb,
    max_duplicate_ratio  double precision NOT NULL DEFAULT 0.5,
    max_rejects          integer     NOT NULL DEFAULT 100000,
    execution_arn        text,
    task_token           text,                                     -- wakes the execution that waits for a person or in line
    -- Which call brought the latest token: a call that was overtaken by another one writes nothing.
    token_entered_at     timestamptz,                              -- when the waiting state was entered
    token_retry_count    integer,                                  -- how often its task was repeated by then
    looked_at            timestamptz,                              -- when the sweep last turned to it
    delayed_since        timestamptz,                              -- a step is repeated for want of the database or of S3
    delayed_phase        text,                                     -- what the job is shown in after a minute of that

    files_frozen_at      timestamptz,
    file_totals          jsonb,                                    -- `sum_up_files`, once its files don't change; null while they load
    staging_created_at   timestamptz,
    split_points         text[] COLLATE "C",                       -- n points cut staging into n + 1 buckets

    codes_epoch          bigint,                                   -- merchants.codes_epoch when marking began
    restage_count        integer     NOT NULL DEFAULT 0,           -- ways back taken: StagingLost
    recheck_count        integer     NOT NULL DEFAULT 0,           -- ways back taken: CountMismatch
    blocked              boolean     NOT NULL DEFAULT false,
    accept_duplicates    boolean     NOT NULL DEFAULT false,
    records              bigint,
    staged               bigint,
    rejected             bigint,
    skipped              bigint,
    internal_duplicates  bigint,
    database_duplicates  bigint,
    both_duplicates      bigint,
    total_codes_to_insert bigint,                                  -- clean: not duplicate at marking
    clean_checksum       bigint,                                   -- xor of hashtextextended(code, 0) of the clean codes
    insert_estimate_seconds double precision,                      -- how long their insert will take: jobs.validated
    codes_inserted       bigint,
    late_duplicates      bigint,
    codes_checksum       bigint,                                   -- the same of the codes inserted
    insert_seconds       double precision,                         -- what the transaction that inserted them took
    codes_deleted        bigint,                                   -- what a rollback did
    codes_kept           bigint,
    merchant_total       bigint,                                   -- codes of the merchant once these were in
    validation_passed    boolean,
    validation_errors    jsonb       NOT NULL DEFAULT '[]',
    verification         jsonb,
    error_message        text,

    CONSTRAINT codes_import_jobs_status CHECK (status IN ('pending', 'loading', 'checking', 'validating',
        'awaiting_approval', 'processing', 'completed', 'rolled_back', 'failed', 'cancelled', 'expired')),
    CONSTRAINT codes_import_jobs_attempt CHECK (attempt >= 1),
    -- Working states hold the lease; a completed job holds it while it is rolled back; no other state may.
    CONSTRAINT codes_import_jobs_working_is_leased CHECK (
        leased OR status NOT IN ('loading', 'checking', 'validating', 'processing')),
    CONSTRAINT codes_import_jobs_lease_is_working CHECK (
        NOT leased OR status IN ('pending', 'loading', 'checking', 'validating', 'processing', 'completed')),
    CONSTRAINT codes_import_jobs_token_order CHECK ((token_entered_at IS NULL) = (token_retry_count IS NULL)),
    CONSTRAINT codes_import_jobs_waiting_has_token CHECK (status <> 'awaiting_approval' OR task_token IS NOT NULL),
    -- In line for the merchant's lease: uploads, and imports that a person has approved.
    CONSTRAINT codes_import_jobs_in_line CHECK (
        phase <> 'waiting_for_merchant'
        OR (NOT leased AND (status = 'pending' OR (status = 'awaiting_approval' AND approved_at IS NOT NULL)))),
    CONSTRAINT codes_import_jobs_approved CHECK (
        (approved_at IS NULL) = (approved_clean IS NULL) AND (approved_at IS NULL) = (approved_checksum IS NULL)),
    -- What is inserted is what was approved.
    CONSTRAINT codes_import_jobs_processing_is_approved CHECK (
        status <> 'processing'
        OR (approved_at IS NOT NULL AND total_codes_to_insert > 0
            AND (approved_clean, approved_checksum) IS NOT DISTINCT FROM (total_codes_to_insert, clean_checksum))),
    CONSTRAINT codes_import_jobs_completed CHECK (
        (status IN ('completed', 'rolled_back')) = (completed_at IS NOT NULL)),
    CONSTRAINT codes_import_jobs_completed_counted CHECK (completed_at IS NULL OR codes_inserted IS NOT NULL),
    CONSTRAINT codes_import_jobs_rolled_back CHECK ((status = 'rolled_back') = (rolled_back_at IS NOT NULL)),
    CONSTRAINT codes_import_jobs_rollback_counted CHECK (
        status <> 'rolled_back' OR (codes_deleted IS NOT NULL AND codes_kept IS NOT NULL)),
    -- So statements ask `finished_at IS NULL` instead of listing states.
    CONSTRAINT codes_import_jobs_finished CHECK (
        (status IN ('completed', 'rolled_back', 'failed', 'cancelled', 'expired')) = (finished_at IS NOT NULL)),
    CONSTRAINT codes_import_jobs_inserted CHECK (
        (inserted_at IS NULL) OR (codes_inserted IS NOT NULL AND late_duplicates IS NOT NULL)),
    CONSTRAINT codes_import_jobs_accounting CHECK (
        codes_inserted IS NULL OR total_codes_to_insert IS NULL OR inserted_at IS NULL
        OR codes_inserted + late_duplicates = total_codes_to_insert),
    CONSTRAINT codes_import_jobs_failed_says_why CHECK (status <> 'failed' OR error_message IS NOT NULL),
    CONSTRAINT codes_import_jobs_delayed CHECK (
        (delayed_since IS NULL) = (delayed_phase IS NULL)
        AND delayed_phase IN ('waiting_for_database', 'waiting_for_storage')),
    CONSTRAINT codes_import_jobs_ratio CHECK (max_duplicate_ratio BETWEEN 0 AND 1),
    CONSTRAINT codes_import_jobs_max_rejects CHECK (max_rejects BETWEEN 0 AND 10000000)
);
-- The merchant's lease.
CREATE UNIQUE INDEX codes_import_jobs_merchant_lease ON onceload.codes_import_jobs (merchant_id) WHERE leased;
-- The line for it, in its order.
CREATE INDEX codes_import_jobs_line ON onceload.codes_import_jobs (merchant_id, approved_at, created_at, id)
    WHERE phase = 'waiting_for_merchant';
-- S3 delivers an event at least once.
CREATE UNIQUE INDEX codes_import_jobs_source_event ON onceload.codes_import_jobs (source_event_key)
    WHERE source_event_key IS NOT NULL;
-- The same files with the same mapping are imported by one job at a time. Final states are free again.
CREATE UNIQUE INDEX codes_import_jobs_active_source ON onceload.codes_import_jobs (merchant_id, source_fingerprint)
    WHERE source_fingerprint IS NOT NULL AND finished_at IS NULL;
CREATE UNIQUE INDEX codes_import_jobs_execution ON onceload.codes_import_jobs (execution_arn) WHERE execution_arn IS NOT NULL;
CREATE INDEX codes_import_jobs_merchant_time ON onceload.codes_import_jobs (merchant_id, created_at DESC, id DESC);
CREATE INDEX codes_import_jobs_status_time ON onceload.codes_import_jobs (status, created_at);
-- For retention.
CREATE INDEX codes_import_jobs_stale_staging ON onceload.codes_import_jobs (finished_at) WHERE staging_cleared_at IS NULL;
-- What the sweep looks through.
CREATE INDEX codes_import_jobs_unfinished ON onceload.codes_import_jobs (created_at) WHERE finished_at IS NULL;
CREATE INDEX codes_import_jobs_unverified ON onceload.codes_import_jobs (finished_at)
    WHERE status = 'completed' AND verification IS NULL AND inserted_at IS NOT NULL;
-- The pace of inserts: those that were long enough to tell.
CREATE INDEX codes_import_jobs_insert_pace ON onceload.codes_import_jobs (inserted_at DESC)
    WHERE codes_inserted >= 100000 AND insert_seconds IS NOT NULL;
CREATE INDEX codes_import_jobs_created_by ON onceload.codes_import_jobs (created_by, created_at DESC);

-- A CHECK sees one version of a row; the edges of the state machine need both.
CREATE FUNCTION onceload.codes_import_jobs_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'codes_import_jobs is never deleted from' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.attempt < OLD.attempt THEN
        RAISE EXCEPTION 'job %: attempt may not fall from % to %', OLD.id, OLD.attempt, NEW.attempt
            USING ERRCODE = 'check_violation', CONSTRAINT = 'codes_import_jobs_transition';
    END IF;
    IF NEW.status <> OLD.status AND NOT (OLD.status || '>' || NEW.status = ANY (ARRAY[
        'pending>loading', 'pending>failed', 'pending>cancelled',
        'loading>checking', 'loading>failed', 'loading>cancelled',
        'checking>validating', 'checking>loading', 'checking>failed', 'checking>cancelled',
        'validating>awaiting_approval', 'validating>completed', 'validating>loading', 'validating>checking',
        'validating>failed', 'validating>cancelled',
        'awaiting_approval>processing', 'awaiting_approval>loading', 'awaiting_approval>expired',
        'awaiting_approval>failed', 'awaiting_approval>cancelled',
        'processing>completed', 'processing>checking', 'processing>loading',
        'processing>failed', 'processing>cancelled',
        'completed>rolled_back', 'failed>loading']))
        -- Without a person only where the approval that they gave before stands.
        AND NOT (OLD.status = 'validating' AND NEW.status = 'processing' AND coalesce(
            (OLD.approved_clean, OLD.approved_checksum) = (NEW.total_codes_to_insert, NEW.clean_checksum), false)) THEN
        RAISE EXCEPTION 'job %: % may not become %', OLD.id, OLD.status, NEW.status
            USING ERRCODE = 'check_violation', CONSTRAINT = 'codes_import_jobs_transition';
    END IF;
    -- It goes on.
    IF (NEW.status, NEW.attempt) <> (OLD.status, OLD.attempt) THEN
        NEW.delayed_since := NULL;
        NEW.delayed_phase := NULL;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER codes_import_jobs_transition BEFORE UPDATE OF status, attempt OR DELETE ON onceload.codes_import_jobs
    FOR EACH ROW EXECUTE FUNCTION onceload.codes_import_jobs_transition();

-- The files of a job, frozen when it opens. `file_no` is the rank of the key then: it decides which
-- occurrence of a code is the first, on every run, whatever replaces the file.
CREATE TABLE onceload.import_files (
    job_id        uuid        NOT NULL REFERENCES onceload.codes_import_jobs,
    file_no       integer     NOT NULL,
    key           text COLLATE "C" NOT NULL,
    replaces      text COLLATE "C",                        -- the key of the file that a person replaced by this one
    version_id    text,                                    -- null: a bucket without versions; the etag pins it
    etag          text        NOT NULL,                    -- empty: there was no such object
    bytes         bigint      NOT NULL,
    status        text        NOT NULL DEFAULT 'pending',
    layout        jsonb,                                   -- compression, delimiter, columns, as the header said
    records       bigint,
    staged        bigint,
    rejected      bigint,
    skipped       bigint,
    -- Staged rows per bucket: staging is checked against it. Of a file that was replaced or left out, what its next load
    -- deletes.
    bucket_rows   bigint[],
    warnings      jsonb       NOT NULL DEFAULT '[]',       -- of a loaded file: reason, count, line and sample of the first
    rejected_by_reason jsonb  NOT NULL DEFAULT '{}',       -- of a loaded file
    -- Of `rejected`, those that have a row in import_rejects, and the bytes of those rows: of very many, the first.
    rejects_kept  bigint      NOT NULL DEFAULT 0,
    reject_bytes  bigint      NOT NULL DEFAULT 0,
    error_reason  text,
    error_message text,
    loaded_at     timestamptz,
    PRIMARY KEY (job_id, file_no),
    CONSTRAINT import_files_key UNIQUE (job_id, key),
    CONSTRAINT import_files_status CHECK (status IN ('pending', 'loaded', 'failed', 'left_out')),
    CONSTRAINT import_files_failed_says_why CHECK (status <> 'failed' OR (error_reason IS NOT NULL AND error_message IS NOT NULL)),
    -- Every record ends in one of three places.
    CONSTRAINT import_files_accounting CHECK (records IS NULL OR records = staged + rejected + skipped)
);

-- The files of a job in one value: how many, their bytes and records, their warnings, their rejects by reason.
CREATE FUNCTION onceload.sum_up_files(job uuid) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object(
               'files_total', count(*) FILTER (WHERE f.status <> 'left_out'),
               'files_loaded', count(*) FILTER (WHERE f.status = 'loaded'),
               'files_failed', count(*) FILTER (WHERE f.status = 'failed'),
               'bytes_total', coalesce(sum(f.bytes) FILTER (WHERE f.status <> 'left_out'), 0),
               'bytes_loaded', coalesce(sum(f.bytes) FILTER (WHERE f.status = 'loaded'), 0),
               'records', coalesce(sum(f.records), 0), 'staged', coalesce(sum(f.staged), 0),
               'rejected', coalesce(sum(f.rejected), 0), 'skipped', coalesce(sum(f.skipped), 0),
               'warnings', (
                   SELECT coalesce(jsonb_agg(jsonb_build_object('reason', reason, 'count', count, 'files', files, 'first', first)
                                             ORDER BY reason), '[]')
                     FROM (SELECT w.reason COLLATE "C" AS reason,
                                  -- Of the table of codes, and the same in every file.
                                  CASE WHEN bool_or(w.reason IN ('trigger', 'foreign_key')) THEN max(w.count) ELSE sum(w.count) END AS count,
                                  count(*) AS files,
                                  (array_agg(jsonb_build_object('file', g.key, 'line', w.line, 'sample', w.sample)
                                             ORDER BY g.file_no))[1] AS first
                             FROM onceload.import_files g
                            CROSS JOIN jsonb_to_recordset(g.warnings) AS w(reason text, count bigint, line bigint, sample text)
                            WHERE g.job_id = sum_up_files.job GROUP BY 1) AS warning),
               'rejected_by_reason', (
                   SELECT coalesce(jsonb_object_agg(reason, count), '{}')
                     FROM (SELECT r.key AS reason, sum(r.value::bigint) AS count
                             FROM onceload.import_files g
                            CROSS JOIN jsonb_each_text(g.rejected_by_reason) AS r
                            WHERE g.job_id = sum_up_files.job GROUP BY 1) AS reject))
      FROM onceload.import_files f WHERE f.job_id = sum_up_files.job
$$;

-- A list of jobs reads one value of each instead of up to 2,000 files. Files change while their job opens or loads, and when a
-- failed one is mended. A loader holds the job's row until it has committed, so what is summed up here is complete.
CREATE FUNCTION onceload.codes_import_jobs_files() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.file_totals := CASE WHEN NEW.status <> 'loading' THEN onceload.sum_up_files(NEW.id) END;
    RETURN NEW;
END $$;
CREATE TRIGGER codes_import_jobs_files BEFORE UPDATE OF status, source_fingerprint ON onceload.codes_import_jobs
    FOR EACH ROW WHEN ((OLD.status <> NEW.status AND (OLD.status IN ('pending', 'loading') OR NEW.status = 'loading'))
                       OR OLD.source_fingerprint IS DISTINCT FROM NEW.source_fingerprint)
    EXECUTE FUNCTION onceload.codes_import_jobs_files();

-- One chunk is a range of codes inside one bucket of staging: [lower_bound, upper_bound).
CREATE TABLE onceload.import_chunks (
    job_id              uuid    NOT NULL REFERENCES onceload.codes_import_jobs,
    chunk_no            integer NOT NULL,
    bucket_no           integer NOT NULL,
    lower_bound         text COLLATE "C",
    upper_bound         text COLLATE "C",
    staged              bigint  NOT NULL,
    status              text    NOT NULL DEFAULT 'pending',
    internal_duplicates bigint,
    database_duplicates bigint,
    both_duplicates     bigint,
    clean               bigint,
    clean_checksum      bigint,
    production          bigint,
    late_duplicates     bigint,
    marked_at           timestamptz,
    PRIMARY KEY (job_id, chunk_no),
    CONSTRAINT import_chunks_status CHECK (status IN ('pending', 'marked')),
    CONSTRAINT import_chunks_accounting CHECK (status <> 'marked' OR staged =
        clean + internal_duplicates + database_duplicates - both_duplicates)
);

-- What a long step has done so far, written on a connection of its own and true before its transaction commits.
CREATE TABLE onceload.import_progress (
    job_id      uuid        NOT NULL REFERENCES onceload.codes_import_jobs,
    step        text        NOT NULL,
    part        integer     NOT NULL,
    attempt     integer     NOT NULL,
    rows_done   bigint      NOT NULL DEFAULT 0,
    bytes_done  bigint      NOT NULL DEFAULT 0,
    started_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (job_id, step, part),
    CONSTRAINT import_progress_step CHECK (step IN ('load', 'insert', 'rollback', 'export'))
) WITH (fillfactor = 50);

-- What the steps of an attempt have done so far: rows, bytes of files that are being loaded, and seconds. Joined to a list of jobs, its
-- cost would be estimated for each of them, and PostgreSQL would compile the list for longer than it runs.
CREATE FUNCTION onceload.sum_up_progress(job uuid, of_attempt integer) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object(
               'rows_loading', coalesce(sum(p.rows_done) FILTER (WHERE p.step = 'load'), 0),
               'bytes_loading', coalesce(sum(p.bytes_done) FILTER (WHERE p.step = 'load' AND f.status = 'pending'), 0),
               'load_seconds', extract(epoch FROM max(p.updated_at) FILTER (WHERE p.step = 'load')
                                                  - min(p.started_at) FILTER (WHERE p.step = 'load')),
               'rows_inserting', coalesce(max(p.rows_done) FILTER (WHERE p.step = 'insert'), 0),
               'insert_seconds', extract(epoch FROM max(p.updated_at) FILTER (WHERE p.step = 'insert')
                                                    - min(p.started_at) FILTER (WHERE p.step = 'insert')),
               'rows_deleting', coalesce(max(p.rows_done) FILTER (WHERE p.step = 'rollback'), 0),
               'delete_seconds', extract(epoch FROM max(p.updated_at) FILTER (WHERE p.step = 'rollback')
                                                    - min(p.started_at) FILTER (WHERE p.step = 'rollback')))
      FROM onceload.import_progress p
      LEFT JOIN onceload.import_files f ON p.step = 'load' AND f.job_id = p.job_id AND f.file_no = p.part
     WHERE p.job_id = sum_up_progress.job AND p.attempt = of_attempt
$$;

-- The first rejects of each file, up to db::rejects::MAX_FILE_BYTES and MAX_JOB_BYTES. All are counted on their file.
CREATE TABLE onceload.import_rejects (
    job_id        uuid   NOT NULL REFERENCES onceload.codes_import_jobs,
    record_number bigint NOT NULL,
    line_number   bigint NOT NULL,
    file_no       integer NOT NULL,
    file          text COLLATE "C" NOT NULL,
    reason        text   NOT NULL,
    detail        text,
    raw           bytea  NOT NULL,                         -- the first 8 KiB of the record as it was
    PRIMARY KEY (job_id, file_no, record_number)
);
