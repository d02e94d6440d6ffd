-- Users (one per token subject), merchants, and who belongs to which.
-- Merchants and memberships are provisioned by SQL (docs/DATA_MODEL.md); users appear on first use.

CREATE TABLE onceload.users (
    id             uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    subject        text        NOT NULL CONSTRAINT users_subject_key UNIQUE,
    email          text,
    email_verified boolean     NOT NULL DEFAULT false,
    created_at     timestamptz NOT NULL DEFAULT now(),
    -- Until when each of their checks of files counts that is under way: a user has a few at a time.
    checks         timestamptz[] NOT NULL DEFAULT '{}',
    CONSTRAINT users_subject_length CHECK (octet_length(subject) BETWEEN 1 AND 255)
);

CREATE TABLE onceload.merchants (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name        text        NOT NULL,
    -- Rises with every rollback: an import that was marked before one must be marked again.
    codes_epoch bigint      NOT NULL DEFAULT 0,
    created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE onceload.merchant_members (
    merchant_id uuid        NOT NULL REFERENCES onceload.merchants,
    user_id     uuid        NOT NULL REFERENCES onceload.users,
    role        text        NOT NULL DEFAULT 'operator',
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (merchant_id, user_id)
);
CREATE INDEX merchant_members_user_id ON onceload.merchant_members (user_id);
