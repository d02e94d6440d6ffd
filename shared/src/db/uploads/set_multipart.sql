-- uploads.set_multipart
-- The first to begin a multipart upload wins; who comes second takes the first one's.
UPDATE onceload.uploads SET multipart_id = coalesce(multipart_id, $2) WHERE id = $1 AND status = 'open' RETURNING multipart_id
