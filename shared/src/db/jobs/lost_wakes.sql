-- jobs.lost_wakes
-- The heads of lines whose merchants are free.
SELECT j.id FROM onceload.codes_import_jobs j
 WHERE j.phase = 'waiting_for_merchant' AND j.task_token IS NOT NULL AND j.id = onceload.next_to_go(j.merchant_id)
   AND NOT EXISTS (SELECT FROM onceload.codes_import_jobs o WHERE o.merchant_id = j.merchant_id AND o.leased)
