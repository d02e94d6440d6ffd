-- jobs.by_execution
SELECT id, attempt FROM codes_import_jobs WHERE execution_arn = $1
