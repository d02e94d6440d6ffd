-- jobs.queue
-- Nothing is inserted where another job holds the very same source. With the lease ($8), nothing either while somebody has it or
-- waits for it, unless the lease is taken over from a job that was superseded ($10). For the lease, under the line's lock.
INSERT INTO onceload.codes_import_jobs (id, merchant_id, created_by, source_info, mapping, max_duplicate_ratio, max_rejects,
                               leased, source_fingerprint, files_frozen_at, phase, files_asked)
SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, CASE WHEN $9::text IS NOT NULL THEN now() END, 'queued',
       CASE WHEN $9::text IS NULL THEN $11::text[] END
 WHERE NOT $8 OR (NOT EXISTS (SELECT FROM onceload.codes_import_jobs WHERE merchant_id = $2 AND leased)
                  AND ($10 OR onceload.next_in_line($2) IS NULL))
ON CONFLICT DO NOTHING
RETURNING id
