-- jobs.view
-- What GET /imports shows, one job or a page. Keyset: ($6, $7) is the last row of the page before.
SELECT j.id, j.merchant_id, j.status, coalesce(d.phase, j.phase) AS phase, j.attempt, j.created_at, j.created_by, j.completed_at, j.rolled_back_at,
       j.source_info, j.records, j.staged, j.rejected, j.skipped, j.internal_duplicates, j.database_duplicates,
       j.both_duplicates, j.total_codes_to_insert, j.codes_inserted, j.late_duplicates, j.codes_deleted, j.codes_kept, j.merchant_total, j.blocked, j.verification,
       j.error_message, j.validation_errors, j.awaiting_since,
       f.files_total, f.files_loaded, f.files_failed, f.bytes_total, f.bytes_loaded, f.records_loaded, f.staged_loaded,
       f.rejected_loaded, f.skipped_loaded,
       p.rows_loading, p.bytes_loading, p.load_seconds, p.rows_inserting, p.insert_seconds, p.rows_deleting, p.delete_seconds,
       c.chunks_total, c.chunks_done, w.warnings, r.rejected_by_reason
  FROM onceload.codes_import_jobs j
  LEFT JOIN LATERAL (SELECT j.delayed_phase AS phase WHERE j.delayed_since < now() - interval '1 minute') d ON true
 CROSS JOIN LATERAL (
       SELECT count(*) FILTER (WHERE status <> 'left_out') AS files_total, count(*) FILTER (WHERE status = 'loaded') AS files_loaded,
              count(*) FILTER (WHERE status = 'failed') AS files_failed,
              coalesce(sum(bytes) FILTER (WHERE status <> 'left_out'), 0)::bigint AS bytes_total,
              coalesce(sum(bytes) FILTER (WHERE status = 'loaded'), 0)::bigint AS bytes_loaded,
              coalesce(sum(records), 0)::bigint AS records_loaded, coalesce(sum(staged), 0)::bigint AS staged_loaded,
              coalesce(sum(rejected), 0)::bigint AS rejected_loaded, coalesce(sum(skipped), 0)::bigint AS skipped_loaded
         FROM onceload.import_files WHERE job_id = j.id) f
 CROSS JOIN LATERAL (
       SELECT coalesce(sum(p.rows_done) FILTER (WHERE p.step = 'load'), 0)::bigint AS rows_loading,
              coalesce(sum(p.bytes_done) FILTER (WHERE p.step = 'load' AND l.status = 'pending'), 0)::bigint AS bytes_loading,
              extract(epoch FROM max(p.updated_at) FILTER (WHERE p.step = 'load')
                                 - min(p.started_at) FILTER (WHERE p.step = 'load'))::float8 AS load_seconds,
              coalesce(max(p.rows_done) FILTER (WHERE p.step = 'insert'), 0)::bigint AS rows_inserting,
              extract(epoch FROM max(p.updated_at) FILTER (WHERE p.step = 'insert')
                                 - min(p.started_at) FILTER (WHERE p.step = 'insert'))::float8 AS insert_seconds,
              coalesce(max(p.rows_done) FILTER (WHERE p.step = 'rollback'), 0)::bigint AS rows_deleting,
              extract(epoch FROM max(p.updated_at) FILTER (WHERE p.step = 'rollback')
                                 - min(p.started_at) FILTER (WHERE p.step = 'rollback'))::float8 AS delete_seconds
         FROM onceload.import_progress p
         LEFT JOIN onceload.import_files l ON p.step = 'load' AND l.job_id = p.job_id AND l.file_no = p.part
        WHERE p.job_id = j.id AND p.attempt = j.attempt) p
 CROSS JOIN LATERAL (
       SELECT count(*) AS chunks_total, count(*) FILTER (WHERE status = 'marked') AS chunks_done
         FROM onceload.import_chunks WHERE job_id = j.id) c
 CROSS JOIN LATERAL (
       SELECT coalesce(jsonb_agg(jsonb_build_object('reason', reason, 'count', count, 'files', files, 'first', first) ORDER BY reason),
                       '[]') AS warnings
         FROM (SELECT w.reason COLLATE "C" AS reason, sum(w.count) AS count, count(*) AS files,
                      (array_agg(jsonb_build_object('file', f.key, 'line', w.line, 'sample', w.sample) ORDER BY f.file_no))[1] AS first
                 FROM onceload.import_files f
                CROSS JOIN jsonb_to_recordset(f.warnings) AS w(reason text, count bigint, line bigint, sample text)
                WHERE f.job_id = j.id GROUP BY 1) AS warning) w
 CROSS JOIN LATERAL (
       SELECT coalesce(jsonb_object_agg(reason, count), '{}') AS rejected_by_reason
         FROM (SELECT r.key AS reason, sum(r.value::bigint) AS count
                 FROM onceload.import_files f
                CROSS JOIN jsonb_each_text(f.rejected_by_reason) AS r
                WHERE f.job_id = j.id GROUP BY 1) AS reject) r
 WHERE j.merchant_id = ANY ($1)
   AND ($2::uuid IS NULL OR j.id = $2)
   AND ($3::text IS NULL OR j.status = $3)
   AND ($4::timestamptz IS NULL OR j.created_at >= $4 AND j.created_at < $4 + interval '1 month')
   AND ($5::uuid IS NULL OR j.created_by = $5)
   AND ($6::timestamptz IS NULL OR (j.created_at, j.id) < ($6, $7::uuid))
 ORDER BY j.created_at DESC, j.id DESC
 LIMIT $8
