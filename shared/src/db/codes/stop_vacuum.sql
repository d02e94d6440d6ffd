-- codes.stop_vacuum
-- No statement_timeout bounds VACUUM: it runs in no transaction, and a setting of the session does not survive a pooler.
SELECT pg_cancel_backend(pid) AS stopped FROM pg_stat_activity
 WHERE datname = current_database() AND usename = current_user AND query LIKE '-- codes.vacuum%' AND state = 'active'
   AND query_start < now() - make_interval(secs => $1)
