-- files.freeze
INSERT INTO onceload.import_files (job_id, file_no, key, version_id, etag, bytes)
SELECT $1, f.* FROM unnest($2::int[], $3::text[], $4::text[], $5::text[], $6::bigint[]) AS f
