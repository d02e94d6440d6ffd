-- communities.exists
SELECT 1 AS found FROM onceload.communities WHERE id = $1
