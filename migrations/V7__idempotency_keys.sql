-- The answer of each keyed request, for 24 hours.
CREATE TABLE onceload.idempotency_keys (
    user_id          uuid        NOT NULL REFERENCES onceload.users,
    created_at       timestamptz NOT NULL DEFAULT now(),
    expires_at       timestamptz NOT NULL DEFAULT now() + interval '24 hours',
    replays          integer     NOT NULL DEFAULT 0,
    response_status  smallint,
    key              text COLLATE "C" NOT NULL,
    fingerprint      bytea       NOT NULL,                  -- SHA-256 of (method, path, raw body)
    response_headers jsonb,
    response_body    bytea,
    PRIMARY KEY (user_id, key),
    CONSTRAINT idempotency_keys_key CHECK (octet_length(key) BETWEEN 1 AND 255),
    CONSTRAINT idempotency_keys_fingerprint CHECK (octet_length(fingerprint) = 32),
    CONSTRAINT idempotency_keys_only_success CHECK (response_status IS NULL OR response_status BETWEEN 200 AND 299)
);
CREATE INDEX idempotency_keys_expires_at ON onceload.idempotency_keys (expires_at);
