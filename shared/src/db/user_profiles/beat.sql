-- user_profiles.beat
-- A statement of its own: it must not hold the job's row while it waits for the user's.
UPDATE onceload.user_profiles SET heartbeat_at = now() WHERE user_id = $1 AND job_id = $2 AND import_status = 'processing'
