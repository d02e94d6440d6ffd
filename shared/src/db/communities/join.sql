-- communities.join
-- The update changes nothing: it makes the statement see a membership that another request has just committed.
INSERT INTO onceload.community_members AS m (community_id, user_id) VALUES ($1, $2)
ON CONFLICT (community_id, user_id) DO UPDATE SET role = m.role
RETURNING role, joined_at, (xmax = 0) AS new
