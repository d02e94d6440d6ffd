-- jobs.validated
-- An approval of these very codes stands, and they are inserted. One of other codes is void, and a person decides again.
-- How long inserting them will take is told by the slowest of the last three inserts in this database that were long enough to tell.
UPDATE onceload.codes_import_jobs j
   SET internal_duplicates = $3, database_duplicates = $4, both_duplicates = $5, total_codes_to_insert = $6,
       clean_checksum = $7, blocked = $8, validation_passed = $9, validation_errors = $10,
       insert_estimate_seconds = (
           SELECT ceil($6::bigint * max(insert_seconds / codes_inserted))
             FROM (SELECT insert_seconds, codes_inserted FROM onceload.codes_import_jobs
                    WHERE codes_inserted >= 100000 AND insert_seconds IS NOT NULL
                    ORDER BY inserted_at DESC LIMIT 3) recent),
       status = CASE WHEN a.stands THEN 'processing' ELSE j.status END,
       phase = CASE WHEN a.stands THEN 'inserting' ELSE 'validated' END,
       approved_at = CASE WHEN NOT a.void THEN j.approved_at END,
       approved_by = CASE WHEN NOT a.void THEN j.approved_by END,
       approved_clean = CASE WHEN NOT a.void THEN j.approved_clean END,
       approved_checksum = CASE WHEN NOT a.void THEN j.approved_checksum END,
       accept_duplicates = j.accept_duplicates AND NOT a.void,
       error_message = CASE WHEN NOT a.void THEN j.error_message
                            ELSE format('The approval of %s clean codes is void: %s are clean now%s. Look at the counts again, then approve.',
                                        j.approved_clean, $6::bigint,
                                        CASE WHEN j.approved_clean = $6 THEN ', but not the same ones' ELSE '' END) END,
       updated_at = now()
  FROM (SELECT id, approved AND stands AS stands, approved AND NOT stands AS void
          FROM (SELECT id, $9 AND approved_at IS NOT NULL AS approved,
                       $6::bigint > 0 AND (approved_clean, approved_checksum) = ($6::bigint, $7::bigint)
                       AND (NOT $8 OR accept_duplicates) AS stands
                  FROM onceload.codes_import_jobs WHERE id = $1 FOR UPDATE) compared) a
 WHERE j.id = a.id AND j.attempt = $2 AND j.status = 'validating' AND j.cancel_requested_at IS NULL
RETURNING j.status = 'processing' AS stands
