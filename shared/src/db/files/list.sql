-- files.list
SELECT file_no, key, replaces, version_id, etag, bytes, status, layout, records, staged, rejected, skipped,
       bucket_rows, warnings, rejected_by_reason, error_reason, error_message
  FROM onceload.import_files WHERE job_id = $1 ORDER BY file_no
