-- Production. One unique index on the natural key and a BRIN on the job: nothing else that an insert of ten million rows
-- would have to maintain. Codes are compared by bytes ("C") everywhere, since chunks are cut by bytes.

CREATE TABLE onceload.codes (
    merchant_id         uuid             NOT NULL,
    import_job_id       uuid,
    created_at          timestamptz      NOT NULL DEFAULT now(),
    window_start        timestamptz,
    window_end          timestamptz,
    points              integer,
    activated           boolean          NOT NULL DEFAULT false,
    deactivated         boolean          NOT NULL DEFAULT false,
    claimed             boolean          NOT NULL DEFAULT false,
    code                text COLLATE "C" NOT NULL,
    serial              text,
    sku                 text,
    sku_name            text,
    batch_code          text,
    price               numeric(12, 2),
    claimed_customer_id text,
    source              text,
    -- A btree key above about 2,700 bytes would fail a whole insert.
    CONSTRAINT codes_code_length CHECK (octet_length(code) BETWEEN 1 AND 255),
    CONSTRAINT codes_pkey PRIMARY KEY (merchant_id, code)
);
-- Job ids are UUIDv7, so they lie in the heap in time order and BRIN stays selective. No foreign key to
-- the job: the transaction that inserts ten million rows would check each, and `verify` counts them anyway.
CREATE INDEX codes_import_job_id_brin ON onceload.codes USING brin (import_job_id) WITH (autosummarize = on);

-- The table behind onceload.codes: itself, until `migrate` adopts an application's table and makes codes a view of it.
CREATE FUNCTION onceload.codes_table() RETURNS regclass LANGUAGE sql STABLE PARALLEL SAFE RETURN 'onceload.codes'::regclass;
