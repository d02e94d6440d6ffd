-- jobs.queue
-- Nothing is inserted where the merchant's lease or the very same source is held by another job: then the indexes decide.
INSERT INTO onceload.codes_import_jobs (id, merchant_id, created_by, source_info, mapping, max_duplicate_ratio, max_rejects,
                               leased, source_fingerprint, files_frozen_at, phase)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, CASE WHEN $9::text IS NOT NULL THEN now() END, 'queued')
ON CONFLICT DO NOTHING
RETURNING id
