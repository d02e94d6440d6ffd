-- user_profiles.hold
-- A job goes on after an approval or a retry: its user imports again, unless they are importing something else.
-- No row: it has no user, or came through a door that takes no user's lease.
UPDATE onceload.user_profiles p SET job_id = CASE WHEN p.import_status = 'processing' THEN p.job_id ELSE j.id END
  FROM onceload.codes_import_jobs j
 WHERE j.id = $1 AND j.merchant_id = ANY ($2) AND j.source_info ->> 'door' = 'queue-processing'
   AND p.user_id = j.created_by
RETURNING p.job_id = j.id AS held, p.job_id
