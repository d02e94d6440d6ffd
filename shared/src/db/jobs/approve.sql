-- jobs.approve
-- The approved import goes to the head of the line, and has the merchant's lease by the end of this very statement if nobody
-- else has it (trigger codes_import_jobs_line). What can't be inserted within $6 seconds is not approved.
UPDATE onceload.codes_import_jobs
   SET phase = 'waiting_for_merchant', approved_at = now(), approved_by = $3, accept_duplicates = $5,
       approved_clean = total_codes_to_insert, approved_checksum = clean_checksum, error_message = NULL, updated_at = now()
 WHERE id = $1 AND merchant_id = ANY ($2) AND status = 'awaiting_approval' AND approved_at IS NULL
   AND cancel_requested_at IS NULL AND total_codes_to_insert = $4 AND (NOT blocked OR $5)
   AND (insert_estimate_seconds <= $6) IS NOT FALSE
RETURNING id
