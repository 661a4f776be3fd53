-- Removes the tables that a rollback kept, with their rows, for good. Never with CASCADE.
--
-- Locks          ACCESS EXCLUSIVE on the kept tables and on users (they refer to it), for
--                milliseconds, in short tries; after a minute it gives up with SQLSTATE 55P03.
-- Refuses        if others made a view or a foreign key on them: it is named.
-- Run            make drop-kept, which says what is lost and asks; or, as the owner of the tables,
--                psql -X -1 -v ON_ERROR_STOP=1 -f operations/transaction.sql
--                -f operations/drop_kept.sql
-- Proven by      tests/test_kept.py

SET LOCAL application_name = 'drop_kept.sql';
SET LOCAL search_path = pg_catalog;

DO $$ -- in short tries, as in migrations/0001_property_v2.rollback.sql
DECLARE
    tables CONSTANT regclass [] := ARRAY(
        SELECT oid::regclass FROM pg_class
        WHERE relnamespace = to_regnamespace('property_v2_kept') AND relkind IN ('r', 'p')
        ORDER BY relname
    );
    reason text;
BEGIN
    IF tables = '{}' THEN
        RAISE EXCEPTION 'no tables are kept here'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    FOR try IN 1..80 LOOP
        PERFORM set_config('lock_timeout', CASE
            WHEN try > 15 AND EXISTS (
                SELECT FROM pg_locks
                WHERE relation = ANY(tables || to_regclass('public.users')) AND granted
                    AND mode = 'ShareUpdateExclusiveLock'
                    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            ) THEN (500 + 1000 * extract(
                EPOCH FROM current_setting('deadlock_timeout')::interval
            ))::integer || 'ms'
            ELSE '120ms'
        END, true);
        BEGIN
            EXECUTE format('DROP TABLE %s', array_to_string(tables, ', '));
            EXIT;
        EXCEPTION
            WHEN dependent_objects_still_exist THEN -- its own hint would be CASCADE
                GET STACKED DIAGNOSTICS reason = PG_EXCEPTION_DETAIL;
                RAISE EXCEPTION 'other objects depend on the kept tables'
                    USING ERRCODE = 'dependent_objects_still_exist', DETAIL = reason,
                        HINT = 'Nothing was changed. Drop them first, if nobody needs them.';
            WHEN lock_not_available OR deadlock_detected THEN
                IF try = 80 THEN
                    RAISE EXCEPTION 'no lock on users and the kept tables within a minute'
                        USING ERRCODE = 'lock_not_available', HINT = 'Nothing was changed. Who '
                            'is in the way: psql -X -f operations/in_the_way.sql.';
                END IF;
                PERFORM pg_sleep(least(try * 0.1, 0.7));
        END;
    END LOOP;
END;
$$;

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
