-- adoption.fillable
-- What an insert can fill: a view of an application's table has columns that the table lacks, or that are expressions. Where NULL is
-- refused, the view has the table's default.
SELECT a.attname::text AS name, pg_get_expr(d.adbin, d.adrelid) AS "default"
  FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE a.attrelid = 'onceload.codes'::regclass AND a.attnum > 0 AND NOT a.attisdropped
   AND pg_column_is_updatable(a.attrelid, a.attnum, false)
 ORDER BY a.attnum
