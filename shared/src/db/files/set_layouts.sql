-- files.set_layouts
-- A ghost of an earlier attempt must not describe a file that has been replaced since.
WITH job AS (
    SELECT id FROM onceload.codes_import_jobs
     WHERE id = $1 AND attempt = $4 AND status IN ('pending', 'loading') FOR SHARE
)
UPDATE onceload.import_files f SET layout = l.layout
  FROM job, unnest($2::int[], $3::jsonb[]) AS l(file_no, layout)
 WHERE f.job_id = job.id AND f.file_no = l.file_no
