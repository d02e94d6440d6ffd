-- codes.base
-- The table that holds the codes: onceload.codes, or the table below it if that is a view. A view may read other tables,
-- too; this one is the one whose ctid (column -1) it lists. Rows of a partitioned table can't be told apart by ctid.
SELECT b.oid::bigint AS id, format('%I.%I', n.nspname, b.relname) AS name, b.oid <> c.oid AS below_view
  FROM pg_class AS c
  LEFT JOIN pg_rewrite AS r ON r.ev_class = c.oid AND c.relkind = 'v' AND r.rulename = '_RETURN'
  LEFT JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
                          AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid = -1
  JOIN pg_class AS b ON b.oid = coalesce(d.refobjid, c.oid) AND b.relkind = 'r'
  JOIN pg_namespace AS n ON n.oid = b.relnamespace
 WHERE c.oid = 'onceload.codes'::regclass
