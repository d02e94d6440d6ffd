-- jobs.identities
SELECT records = staged + rejected + skipped AS records_add_up,
       staged = codes_inserted + internal_duplicates + database_duplicates - both_duplicates + late_duplicates AS staged_add_up,
       rejected = (SELECT count(*) FROM import_rejects r WHERE r.job_id = j.id) AS rejects_kept
  FROM codes_import_jobs j WHERE id = $1
