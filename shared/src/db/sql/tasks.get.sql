-- tasks.get
SELECT t.id, t.job_id, j.merchant_id, t.action, t.kind, t.claimed, t.status, t.result
  FROM import_tasks t JOIN codes_import_jobs j ON j.id = t.job_id WHERE t.id = $1
