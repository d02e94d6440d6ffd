-- jobs.add_note
UPDATE onceload.codes_import_jobs SET error_message = $2 WHERE id = $1 AND error_message IS NULL
