-- adoption.parts
-- What else has a part in writing to the table $1, or to the table that holds the codes: triggers that fire in sessions like ours, CHECKs,
-- foreign keys from it and to it. Bit 2 of tgtype is INSERT, bit 3 is DELETE (pg_trigger.h); nothing of ours updates codes.
WITH base AS (SELECT coalesce($1::bigint::oid, onceload.codes_table()::oid) AS oid)
SELECT CASE WHEN t.tgtype & 4 > 0 THEN 'trigger' ELSE 'delete_trigger' END AS reason, t.tgname::text AS name,
       pg_get_triggerdef(t.oid) AS definition
  FROM pg_trigger t JOIN base ON t.tgrelid = base.oid
 WHERE NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') AND t.tgtype & 12 > 0
UNION ALL
SELECT CASE WHEN k.contype = 'c' THEN 'check' WHEN k.conrelid = base.oid THEN 'foreign_key' ELSE 'reference' END, k.conname::text,
       format('%s on %s', pg_get_constraintdef(k.oid), k.conrelid::regclass)
  FROM pg_constraint k JOIN base ON k.conrelid = base.oid OR k.contype = 'f' AND k.confrelid = base.oid
 WHERE k.contype IN ('c', 'f')
 ORDER BY 1, 2
