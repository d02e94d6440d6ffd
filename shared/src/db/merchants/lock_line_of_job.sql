-- merchants.lock_line_of_job
SELECT onceload.lock_line(merchant_id) FROM onceload.codes_import_jobs WHERE id = $1
