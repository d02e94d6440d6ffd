-- tasks.unfinished
-- Takes the tasks whose executions are looked up now: first all rollbacks that have been silent for $1 seconds, because they hold
-- a merchant; then up to $2 of the others that are silent, and of rollbacks that beat. Whoever was looked at longest ago comes first.
WITH active AS MATERIALIZED (
    SELECT id, looked_at, action = 'rollback' AS holds, heartbeat_at < now() - make_interval(secs => $1) AS silent
      FROM onceload.import_tasks WHERE status = 'active'
), due AS (
    SELECT id, 1 AS turn FROM active WHERE holds AND silent
    UNION ALL
    (SELECT id, 2 FROM active WHERE holds <> silent ORDER BY looked_at NULLS FIRST LIMIT $2)
), taken AS (
    SELECT t.id, due.turn FROM onceload.import_tasks t JOIN due ON due.id = t.id FOR NO KEY UPDATE OF t SKIP LOCKED
), looked AS (
    UPDATE onceload.import_tasks t SET looked_at = now() FROM taken WHERE t.id = taken.id
    RETURNING t.id, t.job_id, t.action, taken.turn
)
SELECT id, job_id, action FROM looked ORDER BY turn
