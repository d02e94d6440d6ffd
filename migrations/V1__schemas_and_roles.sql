-- Everything of Onceload lives in these two schemas; nothing in `public`. Nobody has a right in them who was not granted one.
-- `migrate` makes the schema `onceload` before the first migration, for the history of migrations lies in it.
CREATE SCHEMA IF NOT EXISTS onceload;
REVOKE ALL ON SCHEMA onceload FROM PUBLIC;

-- Staging: the tables of one import each, made and dropped by the functions. For the owner alone.
CREATE SCHEMA onceload_staging;
REVOKE ALL ON SCHEMA onceload_staging FROM PUBLIC;

-- A role to read reports with. Making roles needs CREATEROLE, which an ordinary owner may lack: then an administrator makes
-- it (docs/DATA_MODEL.md), and runs the grants of the last migration.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'onceload_reader') THEN
        CREATE ROLE onceload_reader NOLOGIN;
    END IF;
EXCEPTION
    WHEN insufficient_privilege THEN RAISE NOTICE 'role onceload_reader not made: CREATEROLE is missing';
    WHEN duplicate_object OR unique_violation THEN NULL;
END $$;
