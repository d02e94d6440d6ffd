-- communities.exists
SELECT 1 AS found FROM communities WHERE id = $1
