-- The functions connect as the owner, whom these policies do not bind. Every other role sees the merchants
-- that its session names: SET onceload.merchant_ids = '<uuid>,<uuid>'. Nothing named, nothing seen.
CREATE FUNCTION onceload_merchant_ids() RETURNS uuid[] LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT string_to_array(coalesce(current_setting('onceload.merchant_ids', true), ''), ',')::uuid[]
$$;

ALTER TABLE codes ENABLE ROW LEVEL SECURITY;
CREATE POLICY codes_by_merchant ON codes USING (merchant_id = ANY (onceload_merchant_ids()));

ALTER TABLE codes_import_jobs ENABLE ROW LEVEL SECURITY;
CREATE POLICY codes_import_jobs_by_merchant ON codes_import_jobs USING (merchant_id = ANY (onceload_merchant_ids()));

ALTER TABLE import_rejects ENABLE ROW LEVEL SECURITY;
CREATE POLICY import_rejects_by_merchant ON import_rejects USING (EXISTS (
    SELECT FROM codes_import_jobs j WHERE j.id = job_id AND j.merchant_id = ANY (onceload_merchant_ids())));

-- A role to read reports with. Making roles needs CREATEROLE, which an ordinary owner may lack: then an
-- administrator makes it (docs/DATA_MODEL.md) and grants the same.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'onceload_reader') THEN
        CREATE ROLE onceload_reader NOLOGIN;
    END IF;
EXCEPTION
    WHEN insufficient_privilege THEN RAISE NOTICE 'role onceload_reader not made: CREATEROLE is missing';
    WHEN duplicate_object OR unique_violation THEN NULL;
END $$;
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'onceload_reader') THEN
        GRANT SELECT ON codes, import_rejects TO onceload_reader;
        -- Not the task token: whoever holds it can approve.
        GRANT SELECT (id, merchant_id, status, phase, attempt, created_at, created_by, approved_at, approved_by,
                      completed_at, rolled_back_at, finished_at, source_info, records, staged, rejected, skipped,
                      internal_duplicates, database_duplicates, both_duplicates, total_codes_to_insert,
                      codes_inserted, late_duplicates, validation_passed, validation_errors, verification,
                      error_message) ON codes_import_jobs TO onceload_reader;
    END IF;
END $$;
