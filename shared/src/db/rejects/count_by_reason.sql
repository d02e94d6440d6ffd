-- rejects.count_by_reason
SELECT reason, count(*) AS rejects FROM onceload.import_rejects WHERE job_id = $1 GROUP BY reason ORDER BY reason
