-- codes.count_left
-- How many codes a job has, and how many of them a rollback would delete if nothing held them ($3: the claimed ones, too).
SELECT count(*) AS codes, count(*) FILTER (WHERE $3 OR claimed IS NOT TRUE) AS due
  FROM onceload.codes WHERE import_job_id = $1 AND merchant_id = $2
