-- uploads.find
-- `expired`: an hour after the links, so that who has sent the last byte in time can still complete.
SELECT id, key, size, part_size, multipart_id, version_id, status, expires_at,
       now() > expires_at + interval '1 hour' AS expired
  FROM onceload.uploads WHERE id = $1 AND merchant_id = ANY ($2)
