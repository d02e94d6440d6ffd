-- The functions connect as the owner, whom these policies do not bind. Every other role sees the merchants that its session
-- names: SET onceload.merchant_ids = '<uuid>,<uuid>'. A session that names none sees nothing.
CREATE FUNCTION onceload.merchant_ids() RETURNS uuid[] LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT string_to_array(coalesce(current_setting('onceload.merchant_ids', true), ''), ',')::uuid[]
$$;

ALTER TABLE onceload.codes ENABLE ROW LEVEL SECURITY;
CREATE POLICY codes_by_merchant ON onceload.codes USING (merchant_id = ANY (onceload.merchant_ids()));

ALTER TABLE onceload.codes_import_jobs ENABLE ROW LEVEL SECURITY;
CREATE POLICY codes_import_jobs_by_merchant ON onceload.codes_import_jobs USING (merchant_id = ANY (onceload.merchant_ids()));

ALTER TABLE onceload.import_rejects ENABLE ROW LEVEL SECURITY;
CREATE POLICY import_rejects_by_merchant ON onceload.import_rejects USING (EXISTS (
    SELECT FROM onceload.codes_import_jobs j WHERE j.id = job_id AND j.merchant_id = ANY (onceload.merchant_ids())));

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'onceload_reader') THEN
        GRANT USAGE ON SCHEMA onceload TO onceload_reader;
        -- A policy calls it with the rights of the role that reads.
        GRANT EXECUTE ON FUNCTION onceload.merchant_ids() TO onceload_reader;
        GRANT SELECT ON onceload.codes, onceload.import_rejects TO onceload_reader;
        -- Not the task token: its holder can approve.
        GRANT SELECT (id, merchant_id, status, phase, attempt, created_at, created_by, approved_at, approved_by,
                      completed_at, rolled_back_at, finished_at, source_info, records, staged, rejected, skipped,
                      internal_duplicates, database_duplicates, both_duplicates, total_codes_to_insert,
                      codes_inserted, late_duplicates, validation_passed, validation_errors, verification,
                      error_message) ON onceload.codes_import_jobs TO onceload_reader;
    END IF;
END $$;
