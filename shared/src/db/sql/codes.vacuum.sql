-- codes.vacuum
VACUUM (ANALYZE) codes
