-- jobs.checking
-- Loading is over (or production moved): sum the files up, note the epoch that the marks will be true for.
UPDATE onceload.codes_import_jobs j
   SET status = 'checking', phase = 'checking', updated_at = now(),
       codes_epoch = (SELECT m.codes_epoch FROM onceload.merchants m WHERE m.id = j.merchant_id),
       records = f.records, staged = f.staged, rejected = f.rejected, skipped = f.skipped
  FROM (SELECT coalesce(sum(records), 0) AS records, coalesce(sum(staged), 0) AS staged,
               coalesce(sum(rejected), 0) AS rejected, coalesce(sum(skipped), 0) AS skipped
          FROM onceload.import_files WHERE job_id = $1) f
 WHERE j.id = $1 AND j.attempt = $2 AND j.cancel_requested_at IS NULL
   AND (j.status = 'loading' OR (j.status = 'checking' AND j.phase = 'recheck'))
