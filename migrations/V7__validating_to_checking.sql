-- Validation that finds many of the clean codes in production by now sends the job back to be marked again, as the
-- insert does: without the edge the job failed.
CREATE OR REPLACE FUNCTION codes_import_jobs_transition() RETURNS trigger LANGUAGE plpgsql AS $$
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
        'awaiting_approval>processing', 'awaiting_approval>expired',
        'awaiting_approval>failed', 'awaiting_approval>cancelled',
        'processing>completed', 'processing>checking', 'processing>loading',
        'processing>failed', 'processing>cancelled',
        'completed>rolled_back', 'failed>loading'])) THEN
        RAISE EXCEPTION 'job %: % may not become %', OLD.id, OLD.status, NEW.status
            USING ERRCODE = 'check_violation', CONSTRAINT = 'codes_import_jobs_transition';
    END IF;
    RETURN NEW;
END $$;
