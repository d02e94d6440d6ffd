-- jobs.lease_holder
-- Only for the message: the unique index has decided.
SELECT o.id FROM onceload.codes_import_jobs j JOIN onceload.codes_import_jobs o ON o.merchant_id = j.merchant_id AND o.leased
 WHERE j.id = $1 AND o.id <> j.id
