-- user_profiles.take
-- One statement decides who imports, by the database's clock. Free: not processing, or silent for $3 seconds.
-- The loser learns who holds it. `before` is what the winner took it from; it is read under the row's lock.
WITH before AS MATERIALIZED (
    SELECT import_status, job_id, processing_started_at, heartbeat_at FROM onceload.user_profiles WHERE user_id = $1 FOR UPDATE
)
INSERT INTO onceload.user_profiles AS p (user_id, import_status, job_id, processing_started_at)
SELECT $1, 'processing', $2, now() FROM (SELECT count(*) FROM before) AS locked
ON CONFLICT (user_id) DO UPDATE
   SET (import_status, job_id, processing_started_at, heartbeat_at) = (
       SELECT 'processing',
              CASE WHEN free THEN EXCLUDED.job_id ELSE p.job_id END,
              CASE WHEN free THEN now() ELSE p.processing_started_at END,
              CASE WHEN NOT free THEN p.heartbeat_at END
         FROM (SELECT p.import_status <> 'processing'
                      OR (coalesce(coalesce(p.heartbeat_at, p.processing_started_at)
                                   <= now() - make_interval(secs => $3), false)
                          -- An approved import that waits for its merchant is silent, and not stuck; nor is one that has just got its turn.
                          AND NOT EXISTS (SELECT FROM onceload.codes_import_jobs j
                                           WHERE j.id = p.job_id
                                             AND (j.phase = 'waiting_for_merchant'
                                                  OR j.status = 'processing' AND j.inserted_at IS NULL
                                                     AND j.approved_at < j.heartbeat_at
                                                     AND j.heartbeat_at > now() - make_interval(secs => $3)))) AS free) AS f)
RETURNING job_id IS NOT DISTINCT FROM $2 AS won, job_id,
          coalesce(processing_started_at, now()) AS started_at, processing_started_at IS NULL AS no_start,
          extract(epoch FROM now() - processing_started_at)::float8 AS age_seconds,
          extract(epoch FROM now() - coalesce(heartbeat_at, processing_started_at))::float8 AS silent_seconds,
          (SELECT import_status = 'processing' FROM before) AS was_stuck,
          (SELECT job_id FROM before) AS before_job_id,
          (SELECT extract(epoch FROM now() - coalesce(processing_started_at, heartbeat_at))::float8 FROM before)
              AS before_age_seconds
