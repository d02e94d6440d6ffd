-- uploads.forget
-- A batch of those whose objects are gone: the bucket's lifecycle counts from midnight, and takes its time. What is
-- declared again at this moment is not old any more.
DELETE FROM onceload.uploads
 WHERE id IN (SELECT id FROM onceload.uploads WHERE expires_at < now() - make_interval(days => $1 + 2)
               ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)
RETURNING key, CASE WHEN status = 'open' THEN multipart_id END AS open_multipart
