-- jobs.merchant_total
UPDATE codes_import_jobs j SET merchant_total = (SELECT count(*) FROM codes c WHERE c.merchant_id = j.merchant_id)
 WHERE id = $1
