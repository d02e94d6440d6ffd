-- tasks.export_at_close
-- A completed import leaves lists of what it did not insert, if there is anything.
INSERT INTO onceload.import_tasks (job_id, action, kind)
SELECT j.id, 'export', due.kind
  FROM onceload.codes_import_jobs j
 CROSS JOIN LATERAL (VALUES ('duplicates', j.staged > j.codes_inserted), ('rejects', j.rejected > 0)) AS due(kind, any_rows)
 WHERE j.id = $1 AND j.status = 'completed' AND due.any_rows
ON CONFLICT DO NOTHING
RETURNING id
