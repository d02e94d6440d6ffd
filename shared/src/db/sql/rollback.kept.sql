-- rollback.kept
SELECT count(*) AS codes FROM codes WHERE import_job_id = $1 AND merchant_id = $2
