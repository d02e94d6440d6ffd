-- jobs.set_split_points
UPDATE onceload.codes_import_jobs SET split_points = $3 WHERE id = $1 AND attempt = $2 AND status = 'loading' AND split_points IS NULL
