-- Removes the tables that a rollback kept, with their rows, for good. Never with CASCADE.
--
-- Locks          ACCESS EXCLUSIVE on the kept tables and on users (they refer to it), for
--                milliseconds, in short tries; after a minute it gives up with SQLSTATE 55P03.
-- Refuses        if others made a view or a foreign key on them: it is named.
-- Run            make drop-kept, which says what is lost and asks; or, as the owner of the tables,
--                psql -X -1 -v ON_ERROR_STOP=1 -f operations/drop_kept.sql
-- Proven by      tests/test_kept.py

\ir transaction.sql
SET LOCAL application_name = 'drop_kept.sql';
SET LOCAL search_path = pg_catalog;

DO $$
DECLARE
    tables CONSTANT regclass [] := ARRAY(
        SELECT oid::regclass FROM pg_class
        WHERE relnamespace = to_regnamespace('property_v2_kept') AND relkind IN ('r', 'p')
        ORDER BY relname
    );
BEGIN
    IF tables = '{}' THEN
        RAISE EXCEPTION 'no tables are kept here'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    PERFORM set_config('property_v2.work', 'DROP TABLE ' || array_to_string(tables, ', '), true);
    PERFORM set_config(
        'property_v2.tables', (tables::oid [] || to_regclass('public.users')::oid)::text, true
    );
END;
$$;

\ir tries.sql

DO $$ -- the trigger function, if it came with the tables and nothing else uses it
BEGIN
    IF obj_description(to_regprocedure('public.update_updated_at_column()'), 'pg_proc')
        LIKE '%(created by 0001_property_v2)'
    THEN
        DROP FUNCTION public.update_updated_at_column();
    END IF;
EXCEPTION WHEN dependent_objects_still_exist THEN
    NULL; -- the tables of a later apply
END;
$$;

DO $$ -- the schema, unless others use it, or the next rollback could not make it anew
BEGIN
    IF has_database_privilege(current_database(), 'CREATE') THEN
        DROP SCHEMA property_v2_kept;
    END IF;
EXCEPTION WHEN dependent_objects_still_exist OR insufficient_privilege THEN
    RAISE NOTICE 'schema property_v2_kept stays: it is not empty, or not yours';
END;
$$;
