-- jobs.end
-- failed, cancelled or expired; never once the codes are in. A cancel request wins over a failure.
UPDATE codes_import_jobs
   SET status = CASE WHEN cancel_requested_at IS NOT NULL THEN 'cancelled' ELSE $3 END,
       phase = CASE WHEN cancel_requested_at IS NOT NULL THEN 'cancelled' ELSE $3 END,
       leased = false, finished_at = now(), error_message = coalesce($4, error_message),
       validation_errors = CASE WHEN jsonb_array_length($5) > 0 THEN $5 ELSE validation_errors END, updated_at = now()
 WHERE id = $1 AND attempt = $2 AND inserted_at IS NULL
   AND CASE WHEN $3 = 'expired' AND cancel_requested_at IS NULL THEN status = 'awaiting_approval'
            ELSE status IN ('pending', 'loading', 'checking', 'validating', 'awaiting_approval', 'processing') END
RETURNING status
