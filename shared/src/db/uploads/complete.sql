-- uploads.complete
-- Twice is once: the first completion stands.
UPDATE onceload.uploads
   SET status = 'completed', completed_at = coalesce(completed_at, now()),
       version_id = CASE WHEN status = 'completed' THEN version_id ELSE $2 END,
       etag = CASE WHEN status = 'completed' THEN etag ELSE $3 END
 WHERE id = $1 AND status IN ('open', 'completed')
RETURNING version_id
