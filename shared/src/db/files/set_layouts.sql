-- files.set_layouts
UPDATE onceload.import_files f SET layout = l.layout
  FROM unnest($2::int[], $3::jsonb[]) AS l(file_no, layout)
 WHERE f.job_id = $1 AND f.file_no = l.file_no
