-- The statements that every request runs, as functions: PostgreSQL plans a function's statements once per connection, and
-- an unnamed statement each time it is sent. Planning was more than half of what a replay costs the server.

-- Who is calling, the merchants they belong to, and the answer if this very request was answered before.
-- First use makes the user, later uses follow the claims; whoever is known with these claims is only read.
CREATE FUNCTION caller(subject text, email text, email_verified boolean, key text, fingerprint bytea,
                       OUT id uuid, OUT merchants uuid[],
                       OUT response_status smallint, OUT response_headers jsonb, OUT response_body bytea)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    SELECT u.id INTO caller.id FROM users u
     WHERE u.subject = caller.subject
       AND (u.email, u.email_verified) IS NOT DISTINCT FROM (caller.email, caller.email_verified);
    IF NOT FOUND THEN
        INSERT INTO users AS u (subject, email, email_verified)
        VALUES (caller.subject, caller.email, caller.email_verified)
        ON CONFLICT ON CONSTRAINT users_subject_key DO UPDATE
           SET email = EXCLUDED.email, email_verified = EXCLUDED.email_verified
        RETURNING u.id INTO caller.id;
    END IF;
    merchants := ARRAY(SELECT m.merchant_id FROM merchant_members m WHERE m.user_id = caller.id);
    UPDATE idempotency_keys k SET replays = k.replays + 1
     WHERE k.user_id = caller.id AND k.key = caller.key AND k.fingerprint = caller.fingerprint
       AND k.expires_at > now() AND k.response_status IS NOT NULL
    RETURNING k.response_status, k.response_headers, k.response_body
         INTO response_status, response_headers, response_body;
    IF FOUND THEN
        -- Nothing but a count is written: a crash of the server may lose it, and nobody waits for the disk.
        PERFORM set_config('synchronous_commit', 'off', true);
    END IF;
END $$;

-- The first request with a key writes the row; a duplicate waits on it until the first has committed or is gone, then sees
-- its answer. A claim that was won, new or over an expired one, is a row without a response.
CREATE FUNCTION claim_idempotency_key(user_id uuid, key text, fingerprint bytea,
                                      OUT same boolean, OUT response_status smallint,
                                      OUT response_headers jsonb, OUT response_body bytea)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    -- It is sent together with the BEGIN of the transaction `once`, and without it it would be committed on its own.
    IF current_setting('application_name') <> 'onceload once' THEN
        RAISE EXCEPTION 'a key is claimed in the transaction of its request'
              USING ERRCODE = 'no_active_sql_transaction';
    END IF;
    INSERT INTO idempotency_keys AS k (user_id, key, fingerprint)
    VALUES (claim_idempotency_key.user_id, claim_idempotency_key.key, claim_idempotency_key.fingerprint)
    ON CONFLICT (user_id, key) DO UPDATE
       SET fingerprint = CASE WHEN k.expires_at <= now() THEN EXCLUDED.fingerprint ELSE k.fingerprint END,
           created_at = CASE WHEN k.expires_at <= now() THEN now() ELSE k.created_at END,
           response_status = CASE WHEN k.expires_at > now() THEN k.response_status END,
           response_headers = CASE WHEN k.expires_at > now() THEN k.response_headers END,
           response_body = CASE WHEN k.expires_at > now() THEN k.response_body END,
           replays = CASE WHEN k.expires_at <= now() THEN 0
                          WHEN k.fingerprint = EXCLUDED.fingerprint THEN k.replays + 1 ELSE k.replays END,
           expires_at = CASE WHEN k.expires_at <= now() THEN EXCLUDED.expires_at ELSE k.expires_at END
    RETURNING k.fingerprint = claim_idempotency_key.fingerprint, k.response_status, k.response_headers, k.response_body
         INTO same, response_status, response_headers, response_body;
END $$;

-- The answer beside the work. It is sent together with the COMMIT, so it must fail where there is no claim to answer.
CREATE FUNCTION store_answer(user_id uuid, key text, status smallint, headers jsonb, body bytea) RETURNS void
LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    UPDATE idempotency_keys k
       SET response_status = store_answer.status, response_headers = store_answer.headers,
           response_body = store_answer.body
     WHERE k.user_id = store_answer.user_id AND k.key = store_answer.key AND k.response_status IS NULL;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no claim to answer';
    END IF;
END $$;

-- A community, its owner's membership and subscription. Whoever makes one of the same root waits at the lock, so that nobody
-- tries a suffix in vain; the next statement's snapshot is taken under it.
-- The suffix is the base's highest + 1, one look-up in communities_slug_base_suffix. Above it, addresses may be taken by
-- communities of other bases ("a 1" is a-1): the candidates are made one by one, each a look-up in
-- communities_unique_url_key, and the first free one is it. If somebody without the lock takes that in this instant, the
-- next is tried; no address at all after five of those.
CREATE FUNCTION create_community(id uuid, owner uuid, root text, base text, lowest integer, name text, description text,
                                 subscription uuid, OUT unique_url text, OUT created_at timestamptz)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('onceload slug ' || root, 0));
    FOR try IN 1..5 LOOP
        WITH next AS (
            SELECT greatest(lowest, (SELECT slug_suffix + 1 FROM communities WHERE slug_base = base
                                      ORDER BY slug_suffix DESC LIMIT 1)) AS suffix
        ), candidate AS (
            SELECT generate_series(suffix, 2147483647) AS suffix FROM next
        ), free AS (
            SELECT suffix, base || CASE WHEN suffix = 0 THEN '' ELSE '-' || suffix END AS url
              FROM candidate
             WHERE (SELECT true FROM communities c
                     WHERE c.unique_url = base || CASE WHEN suffix = 0 THEN '' ELSE '-' || suffix END) IS NULL
             LIMIT 1
        ), community AS (
            INSERT INTO communities AS c (id, owner_id, slug_base, slug_suffix, unique_url, name, description)
            SELECT create_community.id, owner, base, suffix, url, create_community.name, create_community.description
              FROM free
            ON CONFLICT DO NOTHING
            RETURNING c.id, c.owner_id, c.unique_url, c.created_at
        ), membership AS (
            INSERT INTO community_members (community_id, user_id, role, joined_at)
            SELECT community.id, owner_id, 'owner', community.created_at FROM community
        ), subscribed AS (
            INSERT INTO subscriptions (id, community_id, user_id, created_at)
            SELECT subscription, community.id, owner_id, community.created_at FROM community
        )
        SELECT community.unique_url, community.created_at INTO unique_url, created_at FROM community;
        EXIT WHEN FOUND;
    END LOOP;
END $$;
