-- communities.create
-- $1 id, $2 owner, $3 slug_base, $4 lowest suffix, $5 name, $6 description, $7 id of the subscription.
-- The suffix is the base's highest + 1, one look-up in communities_slug_base_suffix. Above it, addresses may be taken by
-- communities of other bases ("a 1" is a-1): the candidates are made one by one, each a look-up in
-- communities_unique_url_key, and the first free one is taken. No row: another program took it at this very moment.
WITH next AS (
    SELECT greatest($4::integer, (SELECT slug_suffix + 1 FROM onceload.communities WHERE slug_base = $3::text
                                   ORDER BY slug_suffix DESC LIMIT 1)) AS suffix
), candidate AS (
    SELECT generate_series(suffix, 2147483647) AS suffix FROM next
), free AS (
    SELECT suffix, $3::text || CASE WHEN suffix = 0 THEN '' ELSE '-' || suffix END AS unique_url
      FROM candidate
     WHERE (SELECT true FROM onceload.communities c
             WHERE c.unique_url = $3::text || CASE WHEN suffix = 0 THEN '' ELSE '-' || suffix END) IS NULL
     LIMIT 1
), community AS (
    INSERT INTO onceload.communities (id, owner_id, slug_base, slug_suffix, unique_url, name, description)
    SELECT $1, $2, $3, suffix, unique_url, $5, $6 FROM free
    ON CONFLICT DO NOTHING
    RETURNING id, owner_id, unique_url, created_at
), membership AS (
    INSERT INTO onceload.community_members (community_id, user_id, role, joined_at)
    SELECT id, owner_id, 'owner', created_at FROM community
), subscription AS (
    INSERT INTO onceload.subscriptions (id, community_id, user_id, created_at)
    SELECT $7, id, owner_id, created_at FROM community
)
SELECT unique_url, created_at FROM community
