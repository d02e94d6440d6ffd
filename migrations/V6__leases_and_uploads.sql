-- The lease of a user: one import of theirs works at a time.
CREATE TABLE onceload.user_profiles (
    user_id               uuid PRIMARY KEY REFERENCES onceload.users,
    import_status         text NOT NULL DEFAULT 'idle',
    -- Deferred: taking the lease writes the user's row before the job's (lock order: user, merchant, job).
    job_id                uuid REFERENCES onceload.codes_import_jobs DEFERRABLE INITIALLY DEFERRED,
    processing_started_at timestamptz,
    heartbeat_at          timestamptz,
    CONSTRAINT user_profiles_import_status CHECK (
        import_status IN ('idle', 'processing', 'completed', 'failed', 'cancelled'))
);

-- Data migrations: one at a time per user, merchant, mapping and content.
CREATE TABLE onceload.migration_jobs (
    id                   uuid PRIMARY KEY REFERENCES onceload.codes_import_jobs DEFERRABLE INITIALLY DEFERRED,
    user_id              uuid        NOT NULL REFERENCES onceload.users,
    merchant_id          uuid        NOT NULL REFERENCES onceload.merchants,
    created_at           timestamptz NOT NULL DEFAULT now(),
    updated_at           timestamptz NOT NULL DEFAULT now(),
    status               text        NOT NULL DEFAULT 'pending',
    base_idempotency_key text        NOT NULL,
    idempotency_key      text        NOT NULL CONSTRAINT migration_jobs_idempotency_key_key UNIQUE,
    mapping              jsonb       NOT NULL,
    CONSTRAINT migration_jobs_status CHECK (status IN ('pending', 'processing', 'completed', 'failed', 'cancelled'))
);
-- Active states only: a finished migration can be run again.
CREATE UNIQUE INDEX migration_jobs_one_active ON onceload.migration_jobs (base_idempotency_key)
    WHERE status IN ('pending', 'processing');

-- Both follow the job: whatever changes its status changes these two in the same transaction.
CREATE FUNCTION onceload.codes_import_jobs_followers() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    -- The user is free while the job waits for a person, and after the wait has expired. From the approval on they import
    -- again, even while the job still waits for the merchant.
    import text := CASE WHEN NEW.status = 'expired' OR (NEW.status = 'awaiting_approval' AND NEW.approved_at IS NULL) THEN 'idle'
                        WHEN NEW.status IN ('completed', 'failed', 'cancelled') THEN NEW.status
                        WHEN NEW.status = 'rolled_back' THEN 'completed'
                        ELSE 'processing' END;
    -- A migration that waits for a person is under way.
    migration text := CASE WHEN NEW.status IN ('pending', 'completed', 'failed', 'cancelled') THEN NEW.status
                           WHEN NEW.status = 'rolled_back' THEN 'completed'
                           WHEN NEW.status = 'expired' THEN 'failed'
                           ELSE 'processing' END;
BEGIN
    -- Only while the user's row is about this job: a superseded job changes nothing about the new one.
    UPDATE onceload.user_profiles p
       SET import_status = import,
           processing_started_at = CASE WHEN import = 'processing' AND p.import_status <> 'processing'
                                        THEN now() ELSE p.processing_started_at END,
           heartbeat_at = CASE WHEN import = 'processing' AND p.import_status <> 'processing'
                               THEN NULL ELSE p.heartbeat_at END
     WHERE p.user_id = NEW.created_by AND p.job_id = NEW.id AND p.import_status <> import;
    UPDATE onceload.migration_jobs SET status = migration, updated_at = now() WHERE id = NEW.id AND status <> migration;
    RETURN NULL;
END $$;
CREATE TRIGGER codes_import_jobs_followers AFTER UPDATE OF status, approved_at ON onceload.codes_import_jobs
    FOR EACH ROW WHEN ((OLD.status, OLD.approved_at) IS DISTINCT FROM (NEW.status, NEW.approved_at))
    EXECUTE FUNCTION onceload.codes_import_jobs_followers();

-- The line for a merchant's lease, in phase `waiting_for_merchant`. People first: approved imports in the order of their
-- approvals, then uploads in order of arrival.
CREATE FUNCTION onceload.next_in_line(merchant uuid) RETURNS uuid LANGUAGE sql STABLE AS $$
    SELECT j.id FROM onceload.codes_import_jobs j
     WHERE j.merchant_id = merchant AND j.phase = 'waiting_for_merchant'
     ORDER BY j.approved_at, j.created_at, j.id LIMIT 1
$$;

-- A transaction that joins the line, takes the lease from it or hands the lease on holds this lock to its end. Without it, a lease
-- that is returned while another transaction decides to wait would wake nobody. Lock order: user, merchant (this), job.
CREATE FUNCTION onceload.lock_line(merchant uuid) RETURNS void LANGUAGE sql VOLATILE AS $$
    SELECT pg_advisory_xact_lock(hashtextextended('onceload line ' || merchant::text, 0))
$$;

CREATE INDEX codes_import_jobs_asked ON onceload.codes_import_jobs (merchant_id, asked_at) WHERE asked_at IS NOT NULL;

-- Who takes the lease once it is free. A person who was told that the merchant is busy (a retry, a mend, a rollback) goes before
-- uploads: for 20 seconds after each time they ask, the lease stays free for them. The sweep ends a pause that nobody has used.
CREATE FUNCTION onceload.next_to_go(merchant uuid) RETURNS uuid LANGUAGE sql STABLE AS $$
    SELECT j.id FROM onceload.codes_import_jobs j
     WHERE j.id = onceload.next_in_line(merchant)
       AND (j.approved_at IS NOT NULL
            OR NOT EXISTS (SELECT FROM onceload.codes_import_jobs a
                            WHERE a.merchant_id = merchant AND a.asked_at > clock_timestamp() - interval '20 seconds'))
$$;

-- If nobody has the merchant's lease, the next in line goes on: an approved import gets the lease here, an upload is woken and
-- takes it. The message is delivered right after the commit.
CREATE FUNCTION onceload.hand_over_lease(merchant uuid) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    next record;
BEGIN
    PERFORM onceload.lock_line(merchant);
    IF EXISTS (SELECT FROM onceload.codes_import_jobs j WHERE j.merchant_id = merchant AND j.leased) THEN
        RETURN;
    END IF;
    SELECT j.id, j.status, j.attempt, j.task_token INTO next
      FROM onceload.codes_import_jobs j WHERE j.id = onceload.next_to_go(merchant);
    -- Without a token it is awake: on its way to take the lease, or to sleep, where it comes by here.
    IF next.task_token IS NULL THEN
        RETURN;
    END IF;
    IF next.status = 'awaiting_approval' THEN
        UPDATE onceload.codes_import_jobs
           SET status = 'processing', phase = 'inserting', leased = true, updated_at = now(), heartbeat_at = now()
         WHERE id = next.id;
    ELSIF EXISTS (SELECT FROM onceload.outbox o WHERE o.job_id = next.id AND o.kind = 'task_success'
                     AND o.payload ->> 'attempt' = next.attempt::text AND o.delivered_at IS NULL AND o.given_up_at IS NULL) THEN
        RETURN;
    END IF;
    INSERT INTO onceload.outbox (job_id, kind, payload)
    VALUES (next.id, 'task_success', jsonb_build_object('attempt', next.attempt));
EXCEPTION WHEN unique_violation THEN
    -- A retry or a rollback has taken the lease meanwhile. Its end comes by here.
    RETURN;
END $$;

-- Whoever returns the lease, leaves the line or joins it hands the lease on, in the same transaction: no statement can forget it.
-- Superseding does not return the lease: the new import takes it over in the same transaction.
CREATE FUNCTION onceload.codes_import_jobs_line() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM onceload.hand_over_lease(NEW.merchant_id);
    RETURN NULL;
END $$;
CREATE TRIGGER codes_import_jobs_line AFTER UPDATE OF leased, phase ON onceload.codes_import_jobs
    FOR EACH ROW WHEN (NOT NEW.leased AND NEW.phase <> 'superseded'
                       AND (OLD.leased OR 'waiting_for_merchant' IN (OLD.phase, NEW.phase)))
    EXECUTE FUNCTION onceload.codes_import_jobs_line();

-- An upload is declared before it is made: who may put which object, of which size, and until when. Its links are signed
-- for exactly that, and completing it checks that exactly that came.
CREATE TABLE onceload.uploads (
    id           uuid PRIMARY KEY,
    merchant_id  uuid        NOT NULL REFERENCES onceload.merchants,
    user_id      uuid        NOT NULL REFERENCES onceload.users,
    size         bigint      NOT NULL,
    -- NULL: one PUT. Otherwise every part but the last has so many bytes.
    part_size    bigint,
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL,
    completed_at timestamptz,
    status       text        NOT NULL DEFAULT 'open',
    -- S3's id of the multipart upload.
    multipart_id text,
    -- The version that was completed, and its entity tag: imports read no other one.
    version_id   text,
    etag         text,
    -- One upload per key: what is completed is what was declared, and nobody's file is replaced by another's.
    key          text COLLATE "C" NOT NULL CONSTRAINT uploads_key_key UNIQUE,
    CONSTRAINT uploads_status CHECK (status IN ('open', 'completed', 'rejected')),
    CONSTRAINT uploads_completed_at CHECK ((status = 'completed') = (completed_at IS NOT NULL)),
    CONSTRAINT uploads_etag CHECK ((status = 'completed') = (etag IS NOT NULL)),
    CONSTRAINT uploads_size CHECK (size BETWEEN 1 AND 5497558138880),
    CONSTRAINT uploads_key_of_merchant CHECK (starts_with(key, 'uploads/' || merchant_id || '/'))
);
-- How many wait to be sent is counted with each declaration.
CREATE INDEX uploads_open ON onceload.uploads (merchant_id, user_id, expires_at) WHERE status = 'open';
CREATE INDEX uploads_merchant_created_at ON onceload.uploads (merchant_id, created_at DESC);
