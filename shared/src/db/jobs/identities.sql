-- jobs.identities
-- The sums that the job's row holds against each other and against what they were made of.
SELECT j.records = j.staged + j.rejected + j.skipped AS records_add_up,
       j.staged = j.codes_inserted + j.internal_duplicates + j.database_duplicates - j.both_duplicates
                  + j.late_duplicates AS staged_add_up,
       -- Rejects go with staging; their counts by reason stay.
       (j.staging_cleared_at IS NOT NULL
        OR (SELECT sum(f.rejects_kept) FROM onceload.import_files f WHERE f.job_id = j.id)
            = (SELECT count(*) FROM onceload.import_rejects r WHERE r.job_id = j.id))
       AND j.rejected = (SELECT coalesce(sum(r.value::bigint), 0) FROM onceload.import_files f
                          CROSS JOIN jsonb_each_text(f.rejected_by_reason) AS r WHERE f.job_id = j.id) AS rejects_kept,
       (SELECT (sum(f.records), sum(f.staged), sum(f.rejected), sum(f.skipped)) FROM onceload.import_files f WHERE f.job_id = j.id)
           IS NOT DISTINCT FROM (j.records::numeric, j.staged::numeric, j.rejected::numeric, j.skipped::numeric) AS files_add_up,
       (SELECT (sum(c.staged), sum(c.internal_duplicates), sum(c.database_duplicates), sum(c.both_duplicates), sum(c.clean),
                coalesce(sum(c.late_duplicates), 0))
          FROM onceload.import_chunks c WHERE c.job_id = j.id)
           IS NOT DISTINCT FROM (j.staged::numeric, j.internal_duplicates::numeric, j.database_duplicates::numeric,
                                 j.both_duplicates::numeric, j.total_codes_to_insert::numeric, j.late_duplicates::numeric)
           AS chunks_add_up
  FROM onceload.codes_import_jobs j WHERE j.id = $1
