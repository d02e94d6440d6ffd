-- The HTTP side: who is importing, communities, idempotency keys, data migrations.

CREATE TABLE user_profiles (
    user_id               uuid PRIMARY KEY REFERENCES users,
    import_status         text NOT NULL DEFAULT 'idle',
    job_id                uuid REFERENCES codes_import_jobs,
    processing_started_at timestamptz,
    heartbeat_at          timestamptz,
    CONSTRAINT user_profiles_import_status CHECK (
        import_status IN ('idle', 'processing', 'completed', 'failed', 'cancelled'))
);

CREATE TABLE communities (
    id              uuid PRIMARY KEY,
    owner_id        uuid        NOT NULL REFERENCES users,
    created_at      timestamptz NOT NULL DEFAULT now(),
    -- unique_url is slug_base, or slug_base-slug_suffix when the suffix is above 0. Kept apart so that
    -- "max + 1" is one index look-up however many communities share the base.
    slug_suffix     integer     NOT NULL DEFAULT 0,
    slug_base       text COLLATE "C" NOT NULL,
    unique_url      text COLLATE "C" NOT NULL CONSTRAINT communities_unique_url_key UNIQUE,
    name            text        NOT NULL,
    description     text,
    CONSTRAINT communities_slug CHECK (
        unique_url = slug_base || CASE WHEN slug_suffix = 0 THEN '' ELSE '-' || slug_suffix END),
    CONSTRAINT communities_slug_suffix CHECK (slug_suffix >= 0)
);
CREATE UNIQUE INDEX communities_slug_base_suffix ON communities (slug_base, slug_suffix DESC);

CREATE TABLE community_members (
    community_id uuid        NOT NULL REFERENCES communities,
    user_id      uuid        NOT NULL REFERENCES users,
    joined_at    timestamptz NOT NULL DEFAULT now(),
    role         text        NOT NULL DEFAULT 'member',
    PRIMARY KEY (community_id, user_id),
    CONSTRAINT community_members_role CHECK (role IN ('owner', 'member'))
);

CREATE TABLE subscriptions (
    id           uuid PRIMARY KEY,
    community_id uuid        NOT NULL REFERENCES communities,
    user_id      uuid        NOT NULL REFERENCES users,
    created_at   timestamptz NOT NULL DEFAULT now(),
    plan         text        NOT NULL DEFAULT 'free',
    status       text        NOT NULL DEFAULT 'active',
    CONSTRAINT subscriptions_one_per_member UNIQUE (community_id, user_id)
);

CREATE TABLE community_tags (
    community_id uuid NOT NULL REFERENCES communities,
    tag          text NOT NULL,
    PRIMARY KEY (community_id, tag),
    CONSTRAINT community_tags_length CHECK (char_length(tag) BETWEEN 1 AND 50)
);

CREATE TABLE community_images (
    community_id uuid    NOT NULL REFERENCES communities,
    position     integer NOT NULL,
    url          text    NOT NULL,
    PRIMARY KEY (community_id, position),
    CONSTRAINT community_images_url CHECK (url ~ '^https://' AND octet_length(url) <= 2048)
);

CREATE TABLE idempotency_keys (
    user_id          uuid        NOT NULL REFERENCES users,
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
CREATE INDEX idempotency_keys_expires_at ON idempotency_keys (expires_at);

CREATE TABLE migration_jobs (
    id                   uuid PRIMARY KEY REFERENCES codes_import_jobs,
    user_id              uuid        NOT NULL REFERENCES users,
    merchant_id          uuid        NOT NULL REFERENCES merchants,
    created_at           timestamptz NOT NULL DEFAULT now(),
    updated_at           timestamptz NOT NULL DEFAULT now(),
    status               text        NOT NULL DEFAULT 'pending',
    base_idempotency_key text        NOT NULL,
    idempotency_key      text        NOT NULL CONSTRAINT migration_jobs_idempotency_key_key UNIQUE,
    mapping              jsonb       NOT NULL,
    CONSTRAINT migration_jobs_status CHECK (status IN ('pending', 'processing', 'completed', 'failed', 'cancelled'))
);
-- Active states only: a finished migration can be run again.
CREATE UNIQUE INDEX migration_jobs_one_active ON migration_jobs (base_idempotency_key)
    WHERE status IN ('pending', 'processing');
