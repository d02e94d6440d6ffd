-- rollback.parts
-- Where a job's codes lie in the heap, in parts of $2 blocks: claimed ones were moved. Found by the BRIN on the job.
SELECT ((ctid::text::point)[0]::bigint / $2) AS part, count(*) AS codes, count(*) FILTER (WHERE claimed) AS claimed
  FROM codes WHERE import_job_id = $1 GROUP BY 1 ORDER BY 1
