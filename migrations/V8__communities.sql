-- Communities, their members and what they show.
CREATE TABLE onceload.communities (
    id              uuid PRIMARY KEY,
    owner_id        uuid        NOT NULL REFERENCES onceload.users,
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
CREATE UNIQUE INDEX communities_slug_base_suffix ON onceload.communities (slug_base, slug_suffix DESC);

CREATE TABLE onceload.community_members (
    community_id uuid        NOT NULL REFERENCES onceload.communities,
    user_id      uuid        NOT NULL REFERENCES onceload.users,
    joined_at    timestamptz NOT NULL DEFAULT now(),
    role         text        NOT NULL DEFAULT 'member',
    PRIMARY KEY (community_id, user_id),
    CONSTRAINT community_members_role CHECK (role IN ('owner', 'member'))
);

CREATE TABLE onceload.subscriptions (
    id           uuid PRIMARY KEY,
    community_id uuid        NOT NULL REFERENCES onceload.communities,
    user_id      uuid        NOT NULL REFERENCES onceload.users,
    created_at   timestamptz NOT NULL DEFAULT now(),
    plan         text        NOT NULL DEFAULT 'free',
    status       text        NOT NULL DEFAULT 'active',
    CONSTRAINT subscriptions_one_per_member UNIQUE (community_id, user_id)
);

CREATE TABLE onceload.community_tags (
    community_id uuid NOT NULL REFERENCES onceload.communities,
    tag          text NOT NULL,
    PRIMARY KEY (community_id, tag),
    CONSTRAINT community_tags_length CHECK (char_length(tag) BETWEEN 1 AND 50)
);

CREATE TABLE onceload.community_images (
    community_id uuid    NOT NULL REFERENCES onceload.communities,
    position     integer NOT NULL,
    url          text    NOT NULL,
    PRIMARY KEY (community_id, position),
    CONSTRAINT community_images_url CHECK (url ~ '^https://' AND octet_length(url) <= 2048)
);
