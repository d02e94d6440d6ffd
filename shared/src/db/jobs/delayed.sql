-- jobs.delayed
-- The first statement of a step. $1 and $2, or $3: which job, as the step's input names it.
SELECT EXISTS (SELECT FROM onceload.codes_import_jobs
                WHERE (id = $1 AND attempt = coalesce($2, attempt) OR execution_arn = $3)
                  AND delayed_since IS NOT NULL) AS delayed
