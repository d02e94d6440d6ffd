-- jobs.find_start
SELECT id, execution_arn IS NOT DISTINCT FROM $1 AS own FROM onceload.codes_import_jobs
 WHERE execution_arn = $1 OR ($2::text IS NOT NULL AND source_event_key = $2)
 ORDER BY own DESC LIMIT 1
