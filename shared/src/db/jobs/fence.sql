-- jobs.fence
-- Whoever supersedes, retries or cancels changes this row: it waits for us, or we see it.
SELECT 1 FROM onceload.codes_import_jobs
 WHERE id = $1 AND attempt = $2 AND status = $3 AND cancel_requested_at IS NULL FOR SHARE
