-- codes.table
SELECT onceload.codes_table()::text AS name
