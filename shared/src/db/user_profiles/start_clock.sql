-- user_profiles.start_clock
-- An import without a start has just started: its 15 minutes begin with the first who asks.
UPDATE onceload.user_profiles SET processing_started_at = now()
 WHERE user_id = $1 AND import_status = 'processing' AND processing_started_at IS NULL
