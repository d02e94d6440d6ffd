-- codes.delete_part
DELETE FROM onceload.codes
 WHERE ctid >= $3::text::tid AND ctid < $4::text::tid AND import_job_id = $1 AND merchant_id = $2 AND ($5 OR claimed IS NOT TRUE)
