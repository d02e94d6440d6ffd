-- jobs.hand_over
SELECT onceload.hand_over_lease(merchant_id) FROM onceload.codes_import_jobs WHERE id = $1
