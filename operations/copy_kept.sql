-- Takes the rows of kept tables over into the new ones, whose definition is another.
--
-- What it does   INSERT ... SELECT of the columns that both have, table after table in the order of
--                the foreign keys, and the sequences behind the highest id. All rows or none. The
--                kept tables stay as they are until make drop-kept.
-- Locks          EXCLUSIVE on the new tables to the end: nobody writes them, and readers see them
--                empty until then. The foreign keys hold the rows of users that are referred to:
--                a DELETE of such a user, or a change of its key, waits to the end.
-- Refuses        if the new tables hold rows.
-- Run            make restore-kept does, where operations/restore_kept.sql cannot; or
--                psql -X -1 -v ON_ERROR_STOP=1 -f operations/copy_kept.sql
-- Proven by      tests/test_kept.py

\ir kept.before.sql
SET LOCAL application_name = 'copy_kept.sql';
SET LOCAL search_path = public;
SET LOCAL lock_timeout = '2s';

DO $$
DECLARE
    one record;
    columns text;
    kept_rows bigint;
    new_rows bigint;
    next_id bigint;
BEGIN
    FOR one IN
        WITH RECURSIVE kept AS (
            SELECT
                to_regclass(format('public.%I', relname)) AS new_table,
                oid AS kept_table
            FROM pg_class
            WHERE relnamespace = to_regnamespace('property_v2_kept') AND relkind IN ('r', 'p')
                AND relname <> 'kept'
        ),

        depth (new_table, kept_table, turn) AS (
            SELECT
                new_table,
                kept_table,
                0
            FROM kept
            UNION
            SELECT
                k.conrelid,
                kept.kept_table,
                depth.turn + 1
            FROM depth
            INNER JOIN pg_constraint AS k
                ON k.confrelid = depth.new_table AND k.contype = 'f' AND k.conrelid <> k.confrelid
            INNER JOIN kept ON k.conrelid = kept.new_table
            WHERE depth.turn < 20
        )

        SELECT
            new_table::regclass,
            kept_table::regclass
        FROM depth
        GROUP BY new_table, kept_table
        ORDER BY max(turn), new_table::text
    LOOP
        EXECUTE format('LOCK TABLE %s IN SHARE MODE', one.kept_table);
        EXECUTE format('LOCK TABLE %s IN EXCLUSIVE MODE', one.new_table);
        EXECUTE format('SELECT count(*) FROM %s', one.new_table) INTO new_rows;
        IF new_rows > 0 THEN
            RAISE EXCEPTION '% holds % rows', one.new_table, new_rows
                USING ERRCODE = 'object_not_in_prerequisite_state',
                    HINT = 'Nothing was changed. Look at both, and keep one.';
        END IF;
        SELECT string_agg(quote_ident(n.attname), ', ' ORDER BY n.attnum)
        INTO columns
        FROM pg_attribute AS n
        INNER JOIN pg_attribute AS k ON n.attname = k.attname
        WHERE n.attrelid = one.new_table AND k.attrelid = one.kept_table
            AND n.attnum > 0 AND k.attnum > 0 AND NOT n.attisdropped AND n.attgenerated = '';
        EXECUTE format(
            'INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE SELECT %2$s FROM %3$s',
            one.new_table, columns, one.kept_table
        );
        GET DIAGNOSTICS new_rows = ROW_COUNT;
        EXECUTE format('SELECT count(*) FROM %s', one.kept_table) INTO kept_rows;
        IF new_rows <> kept_rows THEN
            RAISE EXCEPTION 'only % of % rows of % came', new_rows, kept_rows, one.kept_table
                USING HINT = 'Nothing was changed. Look for a trigger or a rule.';
        END IF;
        FOR columns IN
            SELECT attname FROM pg_attribute
            WHERE attrelid = one.new_table AND attnum > 0 AND NOT attisdropped
                AND pg_get_serial_sequence(one.new_table::text, attname) IS NOT NULL
        LOOP
            EXECUTE format('SELECT max(%I) + 1 FROM %s', columns, one.new_table) INTO next_id;
            CONTINUE WHEN next_id IS NULL;
            EXECUTE format( -- unlike setval, undone with all the rest
                'ALTER SEQUENCE %s RESTART WITH %s',
                pg_get_serial_sequence(one.new_table::text, columns), next_id
            );
        END LOOP;
    END LOOP;
END;
$$;
