-- Staging has, per import, buckets `b_<job>_<n>` and, per chunk, a side table of duplicates `d_<job>_<n>`. All are UNLOGGED.
-- The staged rows of an import, for an operator: SELECT * FROM onceload.codes_check_temp('<job id>').
-- `row_number` = file_no * 10^12 + record number in the file.
CREATE FUNCTION onceload.codes_check_temp(job uuid)
RETURNS TABLE (row_number bigint, code text, serial text, sku text, points integer, sku_name text,
               batch_code text, price numeric, window_start timestamptz, window_end timestamptz,
               merchant_id uuid, internal_dup boolean, existing_dup boolean, late_dup boolean)
LANGUAGE plpgsql STABLE AS $$
DECLARE
    prefix text := replace(job::text, '-', '');
    owner_merchant uuid;
    bucket record;
    side text;
BEGIN
    SELECT j.merchant_id INTO owner_merchant FROM onceload.codes_import_jobs j WHERE j.id = job;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no import job %', job USING ERRCODE = 'no_data_found';
    END IF;
    -- The side tables of all chunks; a job that is not marked yet has none.
    SELECT string_agg(format('SELECT row_number, flags FROM onceload_staging.%I', c.relname), ' UNION ALL ')
      INTO side
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = 'onceload_staging' AND c.relkind = 'r' AND c.relname LIKE 'd\_' || prefix || '\_%';
    side := coalesce(side, 'SELECT NULL::bigint AS row_number, 0::smallint AS flags WHERE false');
    FOR bucket IN
        SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = 'onceload_staging' AND c.relkind = 'r' AND c.relname LIKE 'b\_' || prefix || '\_%'
         ORDER BY c.relname
    LOOP
        RETURN QUERY EXECUTE format(
            'SELECT b.row_number, b.code, b.serial, b.sku, b.points, b.sku_name, b.batch_code, b.price,
                    b.window_start, b.window_end, $1,
                    coalesce(d.flags, 0) & 1 > 0, coalesce(d.flags, 0) & 2 > 0, coalesce(d.flags, 0) & 4 > 0
               FROM onceload_staging.%I b LEFT JOIN (%s) d ON d.row_number = b.row_number',
            bucket.relname, side) USING owner_merchant;
    END LOOP;
END $$;
