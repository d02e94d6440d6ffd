-- codes.verify
SELECT count(*) AS codes, coalesce(bit_xor(hashtextextended(code, 0)), 0) AS checksum
  FROM onceload.codes WHERE import_job_id = $1 AND merchant_id = $2
