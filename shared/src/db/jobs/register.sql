-- jobs.register
-- Nothing is inserted where the merchant is unknown, or where the event or the execution has a job already.
INSERT INTO onceload.codes_import_jobs (id, merchant_id, created_by, source_info, source_event_key, mapping,
                               max_duplicate_ratio, max_rejects, execution_arn, files_asked)
SELECT $1, m.id, $3, $4, $5, $6, $7, $8, $9, $10 FROM onceload.merchants m WHERE m.id = $2
ON CONFLICT DO NOTHING
RETURNING id
