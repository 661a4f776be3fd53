-- Takes Property V2 back: the six tables and all that belongs to them. It loses no row.
--
-- What it does   Tables without a row are dropped, with their sequences, indexes and triggers, and
--                the trigger function if 0001_property_v2 created it and nothing else uses it. If
--                one of the six holds a row, all six are set aside instead, in the schema
--                property_v2_kept: rows, grants, publications and foreign keys stay with them.
--                make restore-kept puts them back after the next apply, make drop-kept ends it.
--                Only a session that says property_v2.allow_data_loss = on drops them with rows.
-- Locks          ACCESS EXCLUSIVE on the six tables: for milliseconds, however many rows they hold
--                (the first one is proof, SET SCHEMA moves no row), but tables emptied by DELETE
--                since the last VACUUM are read to their end. To drop them also on users, since
--                they refer to it, for milliseconds: even reads of users wait. To keep them users
--                is not touched. Short tries as on the way in; after one minute it gives up with
--                SQLSTATE 55P03 and nothing is changed. Both ways, seen: docs/locks.md.
-- Safe when      the application no longer asks for the tables.
-- Not safe when  a later migration stands on this one, kept tables are there already, or this role
--                may neither create the schema nor use one made for it: refused, with the way out.
-- After          No table of the six is left in public; users has its own triggers and rows as
--                before: \d users. make state names what is kept, and how it comes back.
-- Proven by      tests/test_round_trip.py (the same schema as before), tests/test_kept.py (rows and
--                catalog come back), tests/test_lock_patience.py, tests/test_interruptions.py

-- Nothing below should have to wait, and a client that falls silent keeps no lock for long: the
-- server ends an idle transaction, and TCP notices the loss of a client while a statement runs.
SET LOCAL lock_timeout = '2s';
SET LOCAL statement_timeout = 0;
SET LOCAL idle_in_transaction_session_timeout = '10s';
SET LOCAL tcp_keepalives_idle = 5;
SET LOCAL tcp_keepalives_interval = 2;
SET LOCAL tcp_keepalives_count = 3;
SET LOCAL tcp_user_timeout = '11s';
-- In pg_stat_activity everybody sees what is at work.
SET LOCAL application_name = '0001_property_v2.rollback';

DO $$ -- one transaction, in schema public, without the role's own limits, nothing later on top
DECLARE
    later text;
BEGIN
    IF current_setting('lock_timeout') <> '2s' THEN -- SET LOCAL did nothing
        RAISE EXCEPTION 'this file must run in one transaction'
            USING ERRCODE = 'no_active_sql_transaction',
                HINT = 'Use yoyo rollback, or psql -X -1 -v ON_ERROR_STOP=1 -f FILE.';
    END IF;
    IF current_schema() IS DISTINCT FROM 'public' THEN
        RAISE EXCEPTION 'the current schema is %, not public', coalesce(current_schema(), 'none')
            USING ERRCODE = 'invalid_schema_name',
                HINT = 'Set the role''s search_path so that public comes first.';
    END IF;
    IF current_setting('transaction_timeout', true) IS NOT NULL THEN -- PostgreSQL 17 and later
        PERFORM set_config('transaction_timeout', '0', true);
    END IF;
    BEGIN -- without this, the session of a killed client would go on trying for its minute
        PERFORM set_config('client_connection_check_interval', '500ms', true);
    EXCEPTION WHEN invalid_parameter_value THEN
        NULL; -- a server on Windows cannot see that its client is gone
    END;
    IF to_regclass('public._yoyo_migration') IS NOT NULL THEN
        SELECT string_agg(migration_id, ', ' ORDER BY migration_id)
        INTO later
        FROM public._yoyo_migration
        WHERE migration_id ~ '^\d{4}_property_v2' AND migration_id > '0001_property_v2';
    END IF;
    IF later IS NOT NULL THEN
        RAISE EXCEPTION 'later migrations are applied: %', later
            USING ERRCODE = 'object_not_in_prerequisite_state',
                HINT = 'Nothing was changed. Take them back first, from a checkout that has them.';
    END IF;
END;
$$;


------------------------------------------------------------------------------------------------
-- The tables
------------------------------------------------------------------------------------------------

-- All locks are taken anew in every try, users last (DROP TABLE takes it to remove the foreign
-- keys), and all are let go while it pauses.
DO $$ -- the six tables, in short tries
DECLARE
    started CONSTANT timestamptz := clock_timestamp();
    patience CONSTANT interval := '1 minute';
    pause double precision := 0.1; -- seconds
    tables CONSTANT regclass [] := ARRAY(
        SELECT to_regclass('public.' || name)
        FROM unnest(ARRAY[
            'amenities', 'amenity_translations', 'policies', 'policy_translations',
            'properties', 'property_translations'
        ]) AS t (name)
        WHERE to_regclass('public.' || name) IS NOT NULL
        ORDER BY name
    );
    may_be_lost CONSTANT boolean := coalesce(
        nullif(current_setting('property_v2.allow_data_loss', true), '')::boolean, false
    );
    hold_rows boolean;
    one_table regclass;
    published text;
    reason text;
    in_the_way text;
BEGIN
    LOOP
        PERFORM set_config('lock_timeout', CASE
            WHEN clock_timestamp() > started + interval '10 seconds' AND EXISTS (
                SELECT FROM pg_locks
                WHERE ARRAY[relation::regclass, pg_partition_root(relation)]
                    && (tables || to_regclass('public.users'))
                    AND mode = 'ShareUpdateExclusiveLock' AND granted
                    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            ) THEN (500 + 1000 * extract(
                EPOCH FROM current_setting('deadlock_timeout')::interval
            ))::integer || 'ms'
            ELSE '120ms'
        END, true);
        BEGIN
            IF tables <> '{}' THEN
                EXECUTE format(
                    'LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', array_to_string(tables, ', ')
                );
            END IF;
            BEGIN -- the proof sees every committed row, under any isolation and row security
                hold_rows := false;
                FOREACH one_table IN ARRAY CASE WHEN may_be_lost THEN '{}' ELSE tables END LOOP
                    EXECUTE format('ALTER TABLE %s ADD CONSTRAINT no_row CHECK (false)', one_table);
                END LOOP;
            EXCEPTION WHEN check_violation THEN
                hold_rows := true;
            END;
            EXIT WHEN hold_rows;
            DROP TABLE IF EXISTS
            public.property_translations, public.properties,
            public.policy_translations, public.policies,
            public.amenity_translations, public.amenities;
            RETURN;
        EXCEPTION
            WHEN dependent_objects_still_exist THEN -- its own hint would be CASCADE
                GET STACKED DIAGNOSTICS reason = PG_EXCEPTION_DETAIL;
                RAISE EXCEPTION 'other objects depend on the six tables'
                    USING ERRCODE = 'dependent_objects_still_exist', DETAIL = reason,
                        HINT = 'Nothing was changed. Drop them first, and make them again after '
                            'the next apply.';
            WHEN lock_not_available OR deadlock_detected THEN
                IF clock_timestamp() > started + patience THEN
                    SELECT string_agg(DISTINCT format(
                        '%s (user %s, application %s, open for %s)',
                        coalesce('pid ' || l.pid, 'prepared transaction ' || p.gid),
                        coalesce(a.usename, p.owner, a.backend_type, 'none: a background process'),
                        a.application_name,
                        coalesce(date_trunc('second', clock_timestamp() - coalesce(
                            a.xact_start, p.prepared
                        ))::text, 'a time this role may not see')
                    ), ', ')
                    INTO in_the_way
                    FROM pg_locks AS l
                    INNER JOIN pg_database AS d ON l.database = d.oid
                    LEFT JOIN pg_stat_activity AS a ON l.pid = a.pid
                    LEFT JOIN pg_locks AS x -- the own number of a prepared transaction
                        ON l.pid IS NULL AND x.pid IS NULL
                        AND l.virtualtransaction = x.virtualtransaction
                    LEFT JOIN pg_prepared_xacts AS p ON x.transactionid = p.transaction
                    WHERE d.datname = current_database()
                        AND ARRAY[l.relation::regclass, pg_partition_root(l.relation)]
                        && (tables || to_regclass('public.users'))
                        AND l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()
                        AND coalesce(l.pid::text, p.gid) IS NOT NULL;
                    RAISE EXCEPTION 'no lock on users and the six tables within %; in the way: %',
                        patience, coalesce(in_the_way, 'nobody any more')
                        USING ERRCODE = 'lock_not_available',
                            HINT = 'Nothing was changed. Try again when that work is done, or end '
                                'it first: SELECT pg_terminate_backend(pid).';
                END IF;
                PERFORM pg_sleep(pause * (0.75 + random() / 2));
                pause := least(pause * 1.5, 1);
        END;
    END LOOP;

    -- They hold rows, and are locked.
    IF to_regnamespace('property_v2_kept') IS NULL THEN
        IF NOT has_database_privilege(current_database(), 'CREATE') THEN
            RAISE EXCEPTION 'the tables hold rows, and % may not create the schema '
                'property_v2_kept to keep them', current_user
                USING ERRCODE = 'insufficient_privilege', HINT = format(
                    'Nothing was changed. A superuser can make it: '
                    'CREATE SCHEMA property_v2_kept AUTHORIZATION %I;', current_user
                );
        END IF;
        CREATE SCHEMA property_v2_kept;
    ELSIF NOT has_schema_privilege('property_v2_kept', 'CREATE')
        OR NOT has_schema_privilege('property_v2_kept', 'USAGE')
    THEN
        RAISE EXCEPTION 'the tables hold rows, and % may not use the schema property_v2_kept '
            'to keep them', current_user
            USING ERRCODE = 'insufficient_privilege', HINT = format(
                'Nothing was changed. Its owner can allow it: '
                'GRANT USAGE, CREATE ON SCHEMA property_v2_kept TO %I;', current_user
            );
    ELSIF EXISTS (
        SELECT FROM pg_class
        WHERE relnamespace = to_regnamespace('property_v2_kept')
            AND relname IN (SELECT relname FROM pg_class WHERE oid = ANY(tables))
    ) THEN
        RAISE EXCEPTION 'the tables hold rows, and tables of an earlier rollback are kept in '
            'property_v2_kept already'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                HINT = 'Nothing was changed. Look at both; make drop-kept removes the earlier.';
    END IF;
    FOREACH one_table IN ARRAY tables LOOP
        EXECUTE format('ALTER TABLE %s SET SCHEMA property_v2_kept', one_table);
    END LOOP;
    CREATE TABLE IF NOT EXISTS property_v2_kept.kept (
        migration text NOT NULL,
        since     timestamptz NOT NULL DEFAULT current_timestamp,
        kept_by   text NOT NULL DEFAULT session_user
    );
    INSERT INTO property_v2_kept.kept (migration) VALUES ('0001_property_v2');
    RAISE NOTICE 'the tables are kept with their rows in schema property_v2_kept; after the next '
        'apply make restore-kept puts them back (or psql -f operations/restore_kept.sql)';
    SELECT string_agg(DISTINCT quote_ident(pubname), ', ')
    INTO published
    FROM pg_publication_tables
    WHERE schemaname = 'property_v2_kept';
    IF published IS NOT NULL THEN
        RAISE WARNING 'kept tables are still published by %: a change of their rows, as when a '
            'user is deleted, stops a subscriber that has no schema property_v2_kept', published
            USING HINT = 'Take them out (ALTER PUBLICATION ... DROP TABLE), or move them there too.';
    END IF;
END;
$$;


------------------------------------------------------------------------------------------------
-- The trigger function, which stays with kept tables
------------------------------------------------------------------------------------------------

DO $$ -- update_updated_at_column()
BEGIN
    IF obj_description(to_regprocedure('public.update_updated_at_column()'), 'pg_proc')
        LIKE '%(created by 0001_property_v2)'
    THEN
        DROP FUNCTION public.update_updated_at_column();
    END IF;
EXCEPTION WHEN dependent_objects_still_exist THEN
    RAISE NOTICE 'update_updated_at_column() stays: other objects use it';
END;
$$;
