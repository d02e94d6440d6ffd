-- codes.foreign_keys
-- The foreign keys that reference the table $1, or a table that it is a partition of. In `reference`, b is a row of the codes
-- and f one that references it; they are compared as the constraint's own triggers compare them. `missing_right` is what our
-- role lacks to see every reference.
SELECT quote_literal(k.conname) AS literal, format('%s on %s', quote_ident(k.conname), t.name) AS name,
       format('EXISTS (SELECT FROM %s f WHERE %s)', t.rows, pairs.equal) AS reference,
       nullif(concat_ws('; ',
           CASE WHEN NOT has_schema_privilege(t.schema, 'USAGE')
                THEN format('GRANT USAGE ON SCHEMA %I TO %I', t.schema_name, current_user) END,
           CASE WHEN NOT pairs.readable
                THEN format('GRANT SELECT (%s) ON %s TO %I', pairs.columns, t.name, current_user) END,
           CASE WHEN row_security_active(k.conrelid)
                THEN format('ALTER ROLE %I BYPASSRLS', current_user) END,
           CASE WHEN NOT has_table_privilege(base.oid, 'SELECT')
                THEN format('GRANT SELECT ON %s TO %I', base.oid::regclass, current_user) END), '') AS missing_right
  FROM (SELECT $1::bigint::oid AS oid) AS base
  JOIN pg_constraint AS k ON k.confrelid = base.oid
                          OR k.confrelid IN (SELECT relid FROM pg_partition_ancestors(base.oid::regclass) AS up (relid))
 CROSS JOIN LATERAL (
       SELECT n.oid AS schema, n.nspname AS schema_name, format('%I.%I', n.nspname, c.relname) AS name,
              -- A partition is bound by the key of its parent, a child by inheritance is not.
              format(CASE c.relkind WHEN 'p' THEN '%I.%I' ELSE 'ONLY %I.%I' END, n.nspname, c.relname) AS rows
         FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = k.conrelid) AS t
 CROSS JOIN LATERAL (
       SELECT string_agg(format('b.%I%s OPERATOR(%I.%s) f.%I', a.attname,
                                CASE WHEN co.oid IS NOT NULL THEN format(' COLLATE %I.%I', cn.nspname, co.collname) END,
                                opn.nspname, op.oprname, fa.attname), ' AND ') AS equal,
              string_agg(quote_ident(fa.attname), ', ') AS columns,
              bool_and(has_column_privilege(k.conrelid, fa.attnum, 'SELECT')) AS readable
         FROM unnest(k.confkey, k.conkey, k.conpfeqop) AS p (referenced, referencing, operator)
         JOIN pg_attribute AS a ON a.attrelid = k.confrelid AND a.attnum = p.referenced
         JOIN pg_attribute AS fa ON fa.attrelid = k.conrelid AND fa.attnum = p.referencing
         JOIN pg_operator AS op ON op.oid = p.operator
         JOIN pg_namespace AS opn ON opn.oid = op.oprnamespace
         LEFT JOIN pg_collation AS co ON co.oid = a.attcollation
         LEFT JOIN pg_namespace AS cn ON cn.oid = co.collnamespace) AS pairs
 WHERE k.contype = 'f' AND k.conparentid = 0
 ORDER BY k.conname, k.oid
