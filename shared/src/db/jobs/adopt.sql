-- jobs.adopt
-- The execution that we started takes its job; a second one of the same attempt does not get it.
UPDATE onceload.codes_import_jobs SET execution_arn = $3, updated_at = now()
 WHERE id = $1 AND attempt = $2 AND status IN ('pending', 'loading')
   AND (execution_arn IS NULL OR execution_arn = $3)
