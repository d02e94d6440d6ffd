-- jobs.overdue
-- Whoever was looked at longest ago comes first: a wait that can't be ended keeps no other from being.
WITH due AS (
    SELECT id FROM onceload.codes_import_jobs
     WHERE status = 'awaiting_approval' AND approved_at IS NULL AND awaiting_since < now() - make_interval(secs => $1)
     ORDER BY looked_at NULLS FIRST LIMIT 500 FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE onceload.codes_import_jobs j SET looked_at = now() FROM due WHERE j.id = due.id RETURNING j.id, j.attempt
