-- First third of an import: the tables of the export, empty, are made ready for its rows.
--
-- What it does   Puts off the foreign keys to users to the end, and switches off the triggers of
--                the tables, also those made by hand, so that what comes is what was exported.
-- Locks          ACCESS EXCLUSIVE on the tables to the end, taken in short tries: nobody sees half
--                an import. The foreign keys hold the rows of users that are referred to: a DELETE
--                of such a user, or a change of its key, waits to the end.
-- Run            make import-data. By hand, with DIR from make export-data, in one transaction, by
--                a psql and a pg_restore of one version:
--                pg_restore --data-only -f - DIR | psql -X -1 -v ON_ERROR_STOP=1
--                -v counts='{"properties": 500}'
--                -f import_data.before.sql -f - -f import_data.after.sql
--                with the row_counts of DIR/export.json

\ir transaction.sql
SET LOCAL client_min_messages = warning;
\o /dev/null
SELECT set_config('property_v2.row_counts', :'counts', TRUE) IS NOT NULL AS counted;

DO $$
DECLARE
    names CONSTANT name [] := ARRAY(
        SELECT n FROM jsonb_object_keys(current_setting('property_v2.row_counts')::jsonb) AS k (n)
    );
    tables CONSTANT regclass [] := ARRAY(
        SELECT oid::regclass FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relname = ANY(names)
    );
BEGIN
    IF cardinality(tables) < cardinality(names) THEN
        RAISE EXCEPTION 'the tables are not there'
            USING HINT = 'Apply the migration first: make migrate.';
    END IF;
    IF NOT has_column_privilege(to_regclass('public.users'), 'id', 'SELECT') THEN
        RAISE EXCEPTION 'an import looks for users, whom % may not see', current_user
            USING HINT = format('GRANT SELECT (id) ON users TO %I;', current_user);
    END IF;
    PERFORM set_config('property_v2.work', 'LOCK TABLE ' || array_to_string(tables, ', '), true);
    PERFORM set_config('property_v2.tables', tables::oid []::text, true);
END;
$$;

\ir tries.sql

DO $$
DECLARE
    tables CONSTANT regclass [] := current_setting('property_v2.tables')::regclass [];
    one_table regclass;
    holds_rows boolean;
    one record;
    undo text := '';
BEGIN
    FOREACH one_table IN ARRAY tables LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %s)', one_table) INTO holds_rows;
        IF holds_rows THEN
            RAISE EXCEPTION '% is not empty', one_table
                USING HINT = 'Nothing was imported: an import only fills empty tables.';
        END IF;
    END LOOP;
    FOR one IN
        SELECT
            format('ALTER TABLE %s ALTER CONSTRAINT %I', conrelid::regclass, conname) AS change,
            'DEFERRABLE INITIALLY DEFERRED' AS now,
            'NOT DEFERRABLE' AS afterwards,
            '' AS what
        FROM pg_constraint
        WHERE conrelid = ANY(tables) AND contype = 'f' AND NOT condeferrable
            AND confrelid <> ALL(tables)
        UNION ALL
        SELECT
            format('ALTER TABLE %s', tgrelid::regclass),
            'DISABLE',
            CASE tgenabled
                WHEN 'A' THEN 'ENABLE ALWAYS' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE'
            END,
            format('TRIGGER %I', tgname)
        FROM pg_trigger
        WHERE tgrelid = ANY(tables) AND NOT tgisinternal AND tgenabled <> 'D'
    LOOP
        EXECUTE concat_ws(' ', one.change, one.now, one.what);
        undo := undo || concat_ws(' ', one.change, one.afterwards, one.what) || '; ';
    END LOOP;
    PERFORM set_config('property_v2.after_import', undo, true);
    -- setval, which comes with the rows, is undone with all the rest only in a file made here.
    FOR one IN
        SELECT objid::regclass AS sequence FROM pg_depend
        WHERE refobjid = ANY(tables) AND classid = 'pg_class'::regclass AND deptype = 'a'
            AND (SELECT relkind FROM pg_class WHERE oid = objid) = 'S'
    LOOP
        EXECUTE format('ALTER SEQUENCE %s RESTART', one.sequence);
    END LOOP;
END;
$$;
