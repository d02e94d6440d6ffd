-- Everything of Onceload lies in two schemas, and nothing in `public`. A role has only the rights that it was granted.

-- `migrate` has made this one already: the history of the migrations lies in it.
CREATE SCHEMA IF NOT EXISTS onceload;
REVOKE ALL ON SCHEMA onceload FROM PUBLIC;

-- Staging: the tables of one import each, which the functions make and drop. For the owner alone.
CREATE SCHEMA onceload_staging;
REVOKE ALL ON SCHEMA onceload_staging FROM PUBLIC;

-- PostgreSQL grants EXECUTE on each new function to PUBLIC. Functions of the owner do without, those of later migrations
-- included. Default privileges of one schema can only add to the global ones, so this one holds in the whole database.
ALTER DEFAULT PRIVILEGES REVOKE ALL ON FUNCTIONS FROM PUBLIC;

-- A role to read reports with. Making roles needs CREATEROLE, which an ordinary owner may lack: then an administrator makes
-- it (docs/DATA_MODEL.md) and runs the grants of V10__row_level_security.sql.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'onceload_reader') THEN
        CREATE ROLE onceload_reader NOLOGIN;
    END IF;
EXCEPTION
    WHEN insufficient_privilege THEN RAISE NOTICE 'role onceload_reader not made: CREATEROLE is missing';
    WHEN duplicate_object OR unique_violation THEN NULL;
END $$;
