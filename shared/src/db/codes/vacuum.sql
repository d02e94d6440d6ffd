-- codes.vacuum
VACUUM (ANALYZE) onceload.codes
