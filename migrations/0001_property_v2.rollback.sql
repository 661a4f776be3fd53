-- Takes Property V2 back: the six tables and all that belongs to them.
--
-- What it does   Drops the 6 tables with their sequences, indexes and triggers, and the trigger
--                function if 0001_property_v2 created it and nothing else uses it. Never CASCADE.
-- Locks          ACCESS EXCLUSIVE on the six tables and, since they refer to it, on users: for
--                milliseconds, in which even reads of users wait. Short tries as on the way in;
--                after one minute it gives up with SQLSTATE 55P03 and nothing is changed.
-- Safe when      the six tables are empty and the application no longer asks for them.
-- Not safe when  they hold rows: it counts and names them and refuses. Export first:
--                make export-data (or pg_dump --data-only of the six tables). Then allow the loss:
--                PGOPTIONS='-c property_v2.allow_data_loss=on' yoyo rollback
--                make rollback does both, and allows the loss of what it exported, not of a row
--                written since: property_v2.exported holds the fingerprints of the tables.
-- After          No table of the six is left, users has its own triggers and rows as before:
--                \d users. The tables come back by yoyo apply, the rows by make import-data.
-- Proven by      tests/test_round_trip.py (the same schema as before), tests/test_lock_patience.py

SET LOCAL lock_timeout = '2s';
SET LOCAL statement_timeout = 0;
SET LOCAL idle_in_transaction_session_timeout = 0;
-- In pg_stat_activity everybody sees what is at work.
SET LOCAL application_name = '0001_property_v2.rollback';

DO $$ -- one transaction, in schema public, without the role's own limits
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
END;
$$;


------------------------------------------------------------------------------------------------
-- The tables
------------------------------------------------------------------------------------------------

-- Rows are counted twice: before any lock, so that a refusal makes nobody wait, and again under
-- the locks, so that no row slips in between. All locks are taken anew in every try, users last
-- (DROP TABLE takes it to remove the foreign keys), and all are let go while it pauses.
DO $$ -- the six tables, in short tries
DECLARE
    started CONSTANT timestamptz := clock_timestamp();
    patience CONSTANT interval := '1 minute';
    pause double precision := 0.1; -- seconds
    tables CONSTANT text [] := ARRAY(
        SELECT name
        FROM unnest(ARRAY[
            'amenities', 'amenity_translations', 'policies', 'policy_translations',
            'properties', 'property_translations'
        ]) AS t (name)
        WHERE to_regclass(name) IS NOT NULL
        ORDER BY name
    );
    allowed CONSTANT boolean := coalesce(
        nullif(current_setting('property_v2.allow_data_loss', true), '')::boolean, false
    );
    exported CONSTANT text := nullif(current_setting('property_v2.exported', true), '');
    table_name text;
    row_count bigint;
    fingerprint bigint;
    loss text;
    found text;
    in_the_way text;
BEGIN
    LOOP
        PERFORM set_config('lock_timeout', CASE
            WHEN clock_timestamp() > started + interval '10 seconds' AND EXISTS (
                SELECT FROM pg_locks
                WHERE relation = to_regclass('users') AND granted
                    AND mode = 'ShareUpdateExclusiveLock'
                    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            ) THEN '1500ms'
            ELSE '120ms'
        END, true);
        BEGIN
            FOR locked IN 0..1 LOOP
                IF locked = 1 AND tables <> '{}' THEN
                    EXECUTE format(
                        'LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', array_to_string(tables, ', ')
                    );
                END IF;
                CONTINUE WHEN allowed;
                loss := NULL;
                found := NULL;
                FOREACH table_name IN ARRAY tables LOOP
                    EXECUTE format(
                        'SELECT count(*), '
                        'bit_xor(hashtextextended(id::text || %L || xmin::text, 0)) FROM %I',
                        ' ', table_name
                    ) INTO row_count, fingerprint;
                    IF row_count > 0 THEN
                        loss := concat_ws(', ', loss, row_count || ' ' || table_name);
                        found := concat_ws(',', found, table_name || ':' || fingerprint);
                    END IF;
                END LOOP;
                IF found <> coalesce(exported, '') THEN
                    RAISE EXCEPTION 'the rollback would delete rows%: %', CASE
                        WHEN exported IS NULL THEN ''
                        ELSE ', some of them written since the export'
                    END, loss
                        USING ERRCODE = 'object_not_in_prerequisite_state',
                            HINT = 'Nothing was changed. Export them (make export-data), then '
                                'allow the loss: '
                                'PGOPTIONS=''-c property_v2.allow_data_loss=on'' yoyo rollback';
                END IF;
            END LOOP;
            DROP TABLE IF EXISTS
            property_translations, properties,
            policy_translations, policies,
            amenity_translations, amenities;
            EXIT;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            IF clock_timestamp() > started + patience THEN
                SELECT string_agg(DISTINCT format(
                    '%s (user %s, application %s, open for %s)',
                    coalesce('pid ' || l.pid, 'prepared transaction ' || p.gid),
                    coalesce(a.usename, p.owner),
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
                    AND l.relation::regclass::text = ANY(tables || 'users'::text)
                    AND l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()
                    AND coalesce(l.pid::text, p.gid) IS NOT NULL;
                RAISE EXCEPTION 'no lock on users and the six tables within %; in the way: %',
                    patience, coalesce(in_the_way, 'nobody any more')
                    USING ERRCODE = 'lock_not_available',
                        HINT = 'Nothing was changed. Try again when that work is done, or end it '
                            'first: SELECT pg_terminate_backend(pid).';
            END IF;
            PERFORM pg_sleep(pause * (0.75 + random() / 2));
            pause := least(pause * 1.5, 1);
        END;
    END LOOP;
END;
$$;


------------------------------------------------------------------------------------------------
-- The trigger function
------------------------------------------------------------------------------------------------

DO $$ -- update_updated_at_column()
BEGIN
    IF obj_description(to_regprocedure('public.update_updated_at_column()'), 'pg_proc')
        LIKE '%(created by 0001_property_v2)'
    THEN
        DROP FUNCTION update_updated_at_column();
    END IF;
EXCEPTION WHEN dependent_objects_still_exist THEN
    RAISE NOTICE 'update_updated_at_column() stays: other objects use it';
END;
$$;
