-- adoption.current
SELECT c.relkind = 'v' AS is_view, onceload.codes_table()::oid::bigint AS table_oid, onceload.codes_table()::text AS table_name,
       EXISTS (SELECT FROM onceload.codes) AS has_codes, obj_description(c.oid, 'pg_class') AS definition
  FROM pg_class c WHERE c.oid = 'onceload.codes'::regclass
