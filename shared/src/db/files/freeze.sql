-- files.freeze
-- With their number and size on the job, which lists show.
WITH frozen AS (
    INSERT INTO onceload.import_files (job_id, file_no, key, version_id, etag, bytes)
    SELECT $1, f.* FROM unnest($2::int[], $3::text[], $4::text[], $5::text[], $6::bigint[]) AS f
    RETURNING bytes
), totals AS (
    UPDATE onceload.codes_import_jobs
       SET file_totals = (SELECT jsonb_build_object('files_total', count(*), 'bytes_total', coalesce(sum(bytes), 0)) FROM frozen)
     WHERE id = $1 AND status = 'pending'
)
SELECT FROM frozen
