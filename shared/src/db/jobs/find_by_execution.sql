-- jobs.find_by_execution
SELECT id, attempt FROM onceload.codes_import_jobs WHERE execution_arn = $1
