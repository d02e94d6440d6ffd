-- adoption.table
-- A table as one document. No row where the name is of no relation; it may be quoted, and names its schema.
SELECT to_jsonb(described) AS "table" FROM (
    SELECT c.oid::bigint AS oid, format('%I.%I', n.nspname, c.relname) AS name, quote_ident(n.nspname) AS schema, c.relkind::text AS kind,
           c.relpersistence = 'p' AS is_logged, c.relhasrules AS has_rules,
           c.relispartition OR EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid) AS is_divided,
           quote_ident(pg_get_userbyid(c.relowner)) AS owner, pg_has_role(c.relowner, 'USAGE') AS is_owned,
           quote_ident(current_user) AS role,
           c.relrowsecurity AND (c.relforcerowsecurity OR NOT pg_has_role(c.relowner, 'USAGE'))
               AND NOT (SELECT r.rolbypassrls OR r.rolsuper FROM pg_roles r WHERE r.rolname = current_user) AS has_row_security,
           has_schema_privilege(n.oid, 'USAGE') AS has_schema,
           ARRAY(SELECT p FROM unnest('{SELECT,INSERT,UPDATE,DELETE}'::text[]) AS p WHERE NOT has_table_privilege(c.oid, p)) AS lacks,
           greatest(c.reltuples, 0)::bigint AS rows,
           (SELECT coalesce(jsonb_agg(to_jsonb(it)), '[]') FROM (
               SELECT a.attname::text AS name, quote_ident(a.attname) AS quoted, format_type(a.atttypid, a.atttypmod) AS full_type,
                      t.typname::text AS base_type, t.typtype = 'd' AS is_domain,
                      -- A varchar's length, or a numeric's precision and scale.
                      CASE WHEN a.atttypmod >= 4 THEN a.atttypmod - 4 END AS modifier,
                      coalesce(o.collisdeterministic, true) AS is_deterministic,
                      a.attnotnull AS is_not_null, pg_get_expr(d.adbin, d.adrelid) AS "default",
                      a.attidentity <> '' AS is_identity, a.attgenerated <> '' AS is_generated
                 FROM pg_attribute a
                 JOIN pg_type t ON t.oid = a.atttypid
                 LEFT JOIN pg_collation o ON o.oid = a.attcollation
                 LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
                WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                ORDER BY a.attnum
           ) AS it) AS columns,
           -- An expression is a key without a name. Collations "C" (950) and "POSIX" (951) compare bytes.
           (SELECT coalesce(jsonb_agg(to_jsonb(it)), '[]') FROM (
               SELECT format('%I.%I', n.nspname, x.relname) AS name, m.amname::text AS method, i.indisunique AS is_unique,
                      i.indisvalid AND i.indisready AS is_valid, i.indisexclusion AS is_exclusion, i.indpred IS NULL AS is_whole,
                      coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false) AS nulls_collide,
                      EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = i.indexrelid) AS is_being_built,
                      ARRAY(SELECT coalesce(a.attname::text, '') FROM generate_series(0, i.indnkeyatts - 1) AS k
                              LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k] AND a.attnum > 0 ORDER BY k) AS keys,
                      ARRAY(SELECT i.indcollation[k] IN (950, 951) FROM generate_series(0, i.indnkeyatts - 1) AS k ORDER BY k) AS by_bytes
                 FROM pg_index i
                 JOIN pg_class x ON x.oid = i.indexrelid
                 JOIN pg_namespace n ON n.oid = x.relnamespace
                 JOIN pg_am m ON m.oid = x.relam
                WHERE i.indrelid = c.oid
                ORDER BY x.relname
           ) AS it) AS indexes
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass($1)
) AS described
