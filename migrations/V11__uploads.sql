-- An upload is declared before it is made: who may put which object, of which size, and until when. The links are
-- signed for exactly that; completing it looks whether that came.
CREATE TABLE uploads (
    id           uuid PRIMARY KEY,
    merchant_id  uuid        NOT NULL REFERENCES merchants,
    user_id      uuid        NOT NULL REFERENCES users,
    size         bigint      NOT NULL,
    -- NULL: one PUT. Otherwise every part but the last has so many bytes.
    part_size    bigint,
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL,
    completed_at timestamptz,
    status       text        NOT NULL DEFAULT 'open',
    -- S3's id of the multipart upload.
    multipart_id text,
    version_id   text,
    -- One upload per key: what is completed is what was declared, and nobody's file is replaced by another's.
    key          text COLLATE "C" NOT NULL CONSTRAINT uploads_key_key UNIQUE,
    CONSTRAINT uploads_status CHECK (status IN ('open', 'completed', 'rejected')),
    CONSTRAINT uploads_completed_at CHECK ((status = 'completed') = (completed_at IS NOT NULL)),
    CONSTRAINT uploads_size CHECK (size BETWEEN 1 AND 5497558138880),
    CONSTRAINT uploads_key_of_merchant CHECK (starts_with(key, 'uploads/' || merchant_id || '/'))
);
CREATE INDEX uploads_merchant_created_at ON uploads (merchant_id, created_at DESC);
