-- user_profiles.lock
-- Lock order: user, merchant, job. Whoever ends a job takes its user's row first, as a claim does.
SELECT 1 FROM onceload.user_profiles WHERE user_id = (SELECT created_by FROM onceload.codes_import_jobs WHERE id = $1) FOR UPDATE
