-- jobs.find
SELECT id, merchant_id, status, phase, attempt, cancel_requested_at IS NOT NULL AS cancel_requested,
       created_at, now() - created_at > interval '24 hours' AS day_old,
       source_info, files_asked, source_event_key, source_fingerprint, mapping, max_duplicate_ratio, max_rejects,
       files_frozen_at IS NOT NULL AS frozen, staging_created_at IS NOT NULL AS staging_created, split_points,
       codes_epoch, restage_count, recheck_count, blocked, execution_arn, task_token,
       token_entered_at, token_retry_count,
       staged, total_codes_to_insert, clean_checksum, codes_inserted, late_duplicates, codes_checksum,
       inserted_at IS NOT NULL OR source_info ->> 'door' IS NOT DISTINCT FROM 'adoption' AS inserted, approved_clean, insert_estimate_seconds, error_message
  FROM onceload.codes_import_jobs WHERE id = $1
