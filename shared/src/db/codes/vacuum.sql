-- codes.vacuum
-- Passes over a table that another VACUUM works on.
VACUUM (ANALYZE, SKIP_LOCKED) onceload.codes
