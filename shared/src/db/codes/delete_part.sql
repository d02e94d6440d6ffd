-- codes.delete_part
-- Deletes nothing while another transaction waits for this one: that one may hold a row that this statement would wait for.
DELETE FROM onceload.codes
 WHERE ctid >= $3::text::tid AND ctid < $4::text::tid AND import_job_id = $1 AND merchant_id = $2 AND ($5 OR claimed IS NOT TRUE)
   AND NOT EXISTS (SELECT FROM pg_locks AS ours JOIN pg_locks AS waits ON waits.transactionid = ours.transactionid
                    WHERE ours.pid = pg_backend_pid() AND ours.granted AND NOT waits.granted)
