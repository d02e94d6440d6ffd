-- jobs.go_on
UPDATE onceload.codes_import_jobs SET delayed_since = NULL, delayed_phase = NULL
 WHERE (id = $1 AND attempt = coalesce($2, attempt) OR execution_arn = $3) AND delayed_since IS NOT NULL
