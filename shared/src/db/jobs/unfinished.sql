-- jobs.unfinished
-- Takes the jobs whose executions are looked up now. First, all that hold a merchant or a user and have been silent for $1 seconds.
-- Then up to $2 others of those, which beat: their execution may have been stopped while its function works on. Then up to $2 that
-- wait. Whoever was looked at longest ago comes first, so each has its turn.
WITH unfinished AS MATERIALIZED (
    SELECT id, looked_at, leased OR approved_at IS NOT NULL AS holds,
           updated_at < now() - make_interval(secs => $1)
           AND coalesce(heartbeat_at, updated_at) < now() - make_interval(secs => $1) AS silent
      FROM onceload.codes_import_jobs WHERE finished_at IS NULL
), due AS (
    SELECT id, 1 AS turn FROM unfinished WHERE holds AND silent
    UNION ALL
    (SELECT id, 2 FROM unfinished WHERE holds AND NOT silent ORDER BY looked_at NULLS FIRST LIMIT $2)
    UNION ALL
    (SELECT id, 3 FROM unfinished WHERE NOT holds AND silent ORDER BY looked_at NULLS FIRST LIMIT $2)
), taken AS (
    SELECT j.id, due.turn FROM onceload.codes_import_jobs j JOIN due ON due.id = j.id FOR NO KEY UPDATE OF j SKIP LOCKED
), looked AS (
    UPDATE onceload.codes_import_jobs j SET looked_at = now() FROM taken WHERE j.id = taken.id
    RETURNING j.id, j.attempt, j.execution_arn, taken.turn
)
SELECT id, attempt, execution_arn FROM looked ORDER BY turn
