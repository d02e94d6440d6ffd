-- users.begin_check
-- A user has $2 checks of files under way at most. One that died counts until it would have ended, $3 seconds after its start.
UPDATE onceload.users u
   SET checks = ARRAY(SELECT ends_at FROM unnest(u.checks) AS ends_at WHERE ends_at > clock_timestamp())
                || (clock_timestamp() + make_interval(secs => $3))
 WHERE u.id = $1 AND (SELECT count(*) FROM unnest(u.checks) AS ends_at WHERE ends_at > clock_timestamp()) < $2
RETURNING u.checks[cardinality(u.checks)] AS ends_at
