-- jobs.view
-- What GET /imports shows, one job or a page. Keyset: ($6, $7) is the last row of the page before. $9: as in a list, without
-- what can be long.
SELECT j.id, j.merchant_id, j.status, coalesce(d.phase, j.phase) AS phase, j.attempt, j.created_at, j.created_by, j.completed_at, j.rolled_back_at,
       CASE WHEN NOT $9 THEN j.source_info
            WHEN j.source_info -> 'files' -> 0 IS NULL THEN j.source_info - '{input,mapping,passed_over}'::text[]
            ELSE jsonb_set(j.source_info - '{input,mapping,passed_over}'::text[], '{files}',
                           jsonb_build_array(j.source_info -> 'files' -> 0)) END AS source_info,
       j.records, j.staged, j.rejected, j.skipped, j.internal_duplicates, j.database_duplicates,
       j.both_duplicates, j.total_codes_to_insert, j.codes_inserted, j.late_duplicates, j.codes_deleted, j.codes_kept, j.merchant_total, j.blocked, j.insert_estimate_seconds, j.verification,
       CASE WHEN $9 THEN left(j.error_message, 1000) ELSE j.error_message END AS error_message, j.awaiting_since,
       CASE WHEN $9 THEN jsonb_path_query_array(j.validation_errors, '$[0 to 2]') ELSE j.validation_errors END AS validation_errors,
       coalesce(j.file_totals, onceload.sum_up_files(j.id)) AS file_totals,
       -- Only of a job that a step works on, which has the merchant's lease: one job of a merchant.
       CASE WHEN j.leased THEN onceload.sum_up_progress(j.id, j.attempt) END AS progress,
       c.chunks_total, c.chunks_done
  FROM onceload.codes_import_jobs j
  LEFT JOIN LATERAL (SELECT j.delayed_phase AS phase WHERE j.delayed_since < now() - interval '1 minute') d ON true
 CROSS JOIN LATERAL (
       SELECT count(*) AS chunks_total, count(*) FILTER (WHERE status = 'marked') AS chunks_done
         FROM onceload.import_chunks WHERE job_id = j.id) c
 WHERE j.merchant_id = ANY ($1)
   AND ($2::uuid IS NULL OR j.id = $2)
   AND ($3::text IS NULL OR j.status = $3)
   AND ($4::timestamptz IS NULL OR j.created_at >= $4 AND j.created_at < $4 + interval '1 month')
   AND ($5::uuid IS NULL OR j.created_by = $5)
   AND ($6::timestamptz IS NULL OR (j.created_at, j.id) < ($6, $7::uuid))
 ORDER BY j.created_at DESC, j.id DESC
 LIMIT $8
