-- codes.base
-- The table that holds the codes: onceload.codes, or the application's table below it.
SELECT onceload.codes_table()::oid::bigint AS id, onceload.codes_table()::text AS name,
       onceload.codes_table() <> 'onceload.codes'::regclass AS below_view
