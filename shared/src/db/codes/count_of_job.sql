-- codes.count_of_job
SELECT count(*) AS codes FROM onceload.codes WHERE import_job_id = $1 AND merchant_id = $2
