-- codes.parts
-- Where a job's codes lie in the heap of the table $3, in parts of $2 blocks: claimed ones were moved. Found by the BRIN on the job. Row
-- addresses are compared, not taken apart as text; OFFSET 0 lets the few groups be hashed, where they would be sorted.
SELECT part, count(*) AS codes, count(*) FILTER (WHERE claimed) AS claimed
  FROM (SELECT width_bucket(ctid, (
                   SELECT array_agg(format('(%s,0)', n * $2)::tid ORDER BY n)
                     FROM generate_series(0, pg_relation_size(($3::bigint)::oid::regclass) / current_setting('block_size')::bigint / $2) AS n
               ))::bigint - 1 AS part, claimed
          FROM onceload.codes WHERE import_job_id = $1 OFFSET 0) AS found
 GROUP BY part ORDER BY part
