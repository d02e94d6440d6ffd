-- chunks.plan
INSERT INTO onceload.import_chunks (job_id, chunk_no, bucket_no, lower_bound, upper_bound, staged)
SELECT $1, c.* FROM unnest($2::int[], $3::int[], $4::text[], $5::text[], $6::bigint[]) AS c
