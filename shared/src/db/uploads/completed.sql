-- uploads.completed
SELECT key, version_id, etag FROM onceload.uploads WHERE key = ANY ($1) AND status = 'completed'
