-- Who is importing, kept in step with the job by the job itself: whatever changes a job's status, in whatever
-- transaction, changes these two in the same one.

-- A claim writes the user's row before the job's (lock order: user, merchant, job).
ALTER TABLE user_profiles ALTER CONSTRAINT user_profiles_job_id_fkey DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE migration_jobs ALTER CONSTRAINT migration_jobs_id_fkey DEFERRABLE INITIALLY DEFERRED;

CREATE FUNCTION codes_import_jobs_followers() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    -- Nobody is importing while the job waits for a person, or once nobody came.
    import text := CASE WHEN NEW.status IN ('awaiting_approval', 'expired') THEN 'idle'
                        WHEN NEW.status IN ('completed', 'failed', 'cancelled') THEN NEW.status
                        WHEN NEW.status = 'rolled_back' THEN 'completed'
                        ELSE 'processing' END;
    -- A migration that waits for a person is under way.
    migration text := CASE WHEN NEW.status IN ('pending', 'completed', 'failed', 'cancelled') THEN NEW.status
                           WHEN NEW.status = 'rolled_back' THEN 'completed'
                           WHEN NEW.status = 'expired' THEN 'failed'
                           ELSE 'processing' END;
BEGIN
    -- Only while the user's row is about this job: a job that was superseded changes nothing of the new one.
    UPDATE user_profiles p
       SET import_status = import,
           processing_started_at = CASE WHEN import = 'processing' AND p.import_status <> 'processing'
                                        THEN now() ELSE p.processing_started_at END,
           heartbeat_at = CASE WHEN import = 'processing' AND p.import_status <> 'processing'
                               THEN NULL ELSE p.heartbeat_at END
     WHERE p.user_id = NEW.created_by AND p.job_id = NEW.id AND p.import_status <> import;
    UPDATE migration_jobs SET status = migration, updated_at = now() WHERE id = NEW.id AND status <> migration;
    RETURN NULL;
END $$;
CREATE TRIGGER codes_import_jobs_followers AFTER UPDATE OF status ON codes_import_jobs
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION codes_import_jobs_followers();
