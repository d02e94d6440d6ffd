-- jobs.rollback_state
SELECT status, leased, codes_inserted, codes_deleted, codes_kept FROM onceload.codes_import_jobs WHERE id = $1
