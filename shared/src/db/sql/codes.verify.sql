-- codes.verify
SELECT count(*) AS codes, coalesce(bit_xor(hashtextextended(code, 0)), 0) AS checksum
  FROM codes WHERE import_job_id = $1 AND merchant_id = $2
