-- codes.delete_rest
-- What was moved while the parts were deleted.
DELETE FROM onceload.codes WHERE import_job_id = $1 AND merchant_id = $2 AND ($3 OR claimed IS NOT TRUE)
