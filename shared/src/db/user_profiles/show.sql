-- user_profiles.show
SELECT import_status, job_id, extract(epoch FROM now() - processing_started_at)::float8 AS age_seconds
  FROM onceload.user_profiles WHERE user_id = $1
