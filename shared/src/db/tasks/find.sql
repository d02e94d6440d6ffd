-- tasks.find
SELECT t.id, t.job_id, j.merchant_id, t.action, t.kind, t.claimed, t.status, t.result
  FROM onceload.import_tasks t JOIN onceload.codes_import_jobs j ON j.id = t.job_id WHERE t.id = $1
