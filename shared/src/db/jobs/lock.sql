-- jobs.lock
-- Mends of one job take turns. Lock order: user, merchant, job, files.
SELECT 1 FROM onceload.codes_import_jobs WHERE id = $1 AND merchant_id = ANY ($2) FOR NO KEY UPDATE
