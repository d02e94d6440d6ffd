-- Adopts the data migrations of an earlier system, if there are any: an operator has moved its table aside before the
-- first migration (docs/DATA_MODEL.md). Without such a table this does nothing; done twice it does nothing more.
--
-- There the key of a run was `<base>_<epoch in milliseconds>`, so that no two were ever equal and nothing kept the same
-- migration from running twice. Of each base key one run stays what it is: a live one before a completed before a failed
-- one, the newest of its kind. The others are cancelled, and `status_before_adoption` says what they were.

DO $$
DECLARE
    missing text;
BEGIN
    IF to_regclass('legacy.migration_jobs') IS NULL THEN
        RETURN;
    END IF;
    SELECT string_agg(needed, ', ') INTO missing
      FROM unnest(ARRAY['id', 'status', 'idempotency_key', 'created_at']) AS needed
     WHERE NOT EXISTS (SELECT FROM pg_attribute
                        WHERE attrelid = 'legacy.migration_jobs'::regclass AND attname = needed AND NOT attisdropped);
    IF missing IS NOT NULL THEN
        RAISE EXCEPTION 'legacy.migration_jobs has no column %', missing
              USING HINT = 'Move the table to another schema if it is not the one to adopt.';
    END IF;

    -- Nobody starts a run while duplicates are counted.
    LOCK TABLE legacy.migration_jobs IN SHARE ROW EXCLUSIVE MODE;
    ALTER TABLE legacy.migration_jobs
        ADD COLUMN IF NOT EXISTS base_idempotency_key text,
        ADD COLUMN IF NOT EXISTS status_before_adoption text,
        ADD COLUMN IF NOT EXISTS updated_at timestamptz NOT NULL DEFAULT now();

    UPDATE legacy.migration_jobs SET base_idempotency_key = regexp_replace(idempotency_key, '_[0-9]{13}$', '')
     WHERE base_idempotency_key IS NULL AND idempotency_key IS NOT NULL;

    WITH ranked AS (
        SELECT id, row_number() OVER (
                       PARTITION BY base_idempotency_key
                       ORDER BY array_position(ARRAY['processing', 'pending', 'completed', 'failed'], status::text)
                                NULLS LAST, created_at DESC, id DESC) AS place
          FROM legacy.migration_jobs
         WHERE base_idempotency_key IS NOT NULL AND status::text <> 'cancelled'
    )
    UPDATE legacy.migration_jobs AS job
       SET status_before_adoption = job.status::text, status = 'cancelled', updated_at = now()
      FROM ranked
     WHERE ranked.id = job.id AND ranked.place > 1;

    -- Active states only: a finished migration can be run again.
    CREATE UNIQUE INDEX IF NOT EXISTS legacy_migration_jobs_one_active ON legacy.migration_jobs (base_idempotency_key)
        WHERE status IN ('pending', 'processing');
END $$;
