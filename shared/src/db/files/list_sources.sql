-- files.list_sources
-- Without their layouts, which can be long.
SELECT key, version_id, etag, bytes FROM onceload.import_files WHERE job_id = $1 AND status <> 'left_out' ORDER BY key
