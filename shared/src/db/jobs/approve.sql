-- jobs.approve
-- Takes the merchant's lease again: the unique index refuses while another import works.
UPDATE onceload.codes_import_jobs
   SET status = 'processing', phase = 'inserting', leased = true, approved_at = now(), approved_by = $3,
       accept_duplicates = $5, updated_at = now(), heartbeat_at = now()
 WHERE id = $1 AND merchant_id = ANY ($2) AND status = 'awaiting_approval' AND cancel_requested_at IS NULL
   AND total_codes_to_insert = $4 AND (NOT blocked OR $5)
RETURNING attempt
