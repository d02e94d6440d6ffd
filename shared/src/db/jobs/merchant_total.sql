-- jobs.merchant_total
UPDATE onceload.codes_import_jobs j SET merchant_total = (SELECT count(*) FROM onceload.codes c WHERE c.merchant_id = j.merchant_id)
 WHERE id = $1
