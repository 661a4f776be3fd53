-- Runs the statements of property_v2.work, which lock the tables of property_v2.tables (oids), in
-- short tries: who queues behind a try waits for 120 ms. After a minute it gives up with SQLSTATE
-- 55P03, names the sessions in the way, and nothing is changed.
-- Part of restore_kept.sql, drop_kept.sql and import_data.before.sql.

DO $$
DECLARE
    tables CONSTANT oid [] := current_setting('property_v2.tables')::oid [];
    reason text;
BEGIN
    FOR try IN 1..80 LOOP
        PERFORM set_config('lock_timeout', CASE
            WHEN try > 15 AND EXISTS ( -- an autovacuum yields to nobody who waits a shorter time
                SELECT FROM pg_locks
                WHERE ARRAY[relation, pg_partition_root(relation)] && tables
                    AND mode = 'ShareUpdateExclusiveLock' AND granted
                    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            ) THEN (500 + 1000 * extract(
                EPOCH FROM current_setting('deadlock_timeout')::interval
            ))::integer || 'ms'
            ELSE '120ms'
        END, true);
        BEGIN
            EXECUTE current_setting('property_v2.work');
            RETURN;
        EXCEPTION
            WHEN check_violation THEN
                RAISE EXCEPTION 'the new tables hold rows'
                    USING ERRCODE = 'object_not_in_prerequisite_state',
                        HINT = 'Nothing was changed. Look at both, and keep one: make drop-kept '
                            'removes the kept ones.';
            WHEN dependent_objects_still_exist THEN -- its own hint would be CASCADE
                GET STACKED DIAGNOSTICS reason = PG_EXCEPTION_DETAIL;
                RAISE EXCEPTION 'other objects depend on the tables to be dropped'
                    USING ERRCODE = 'dependent_objects_still_exist', DETAIL = reason,
                        HINT = 'Nothing was changed. Drop them first, and make them again '
                            'afterwards, if somebody needs them.';
            WHEN lock_not_available OR deadlock_detected THEN
                PERFORM pg_sleep(least(try * 0.1, 0.7));
        END;
    END LOOP;
    SELECT string_agg(DISTINCT format(
        '%s (%s, %s)', coalesce('pid ' || l.pid, 'a prepared transaction'),
        coalesce(a.usename, a.backend_type, 'a background process'),
        coalesce(nullif(a.application_name, ''), 'no application name')
    ), ', ')
    INTO reason
    FROM pg_locks AS l
    LEFT JOIN pg_stat_activity AS a ON l.pid = a.pid
    WHERE ARRAY[l.relation, pg_partition_root(l.relation)] && tables
        AND l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database());
    RAISE EXCEPTION 'no lock on the tables within a minute; in the way: %',
        coalesce(reason, 'nobody any more')
        USING ERRCODE = 'lock_not_available', HINT = 'Nothing was changed. Try again when that '
            'work is done, or end it first: SELECT pg_terminate_backend(pid).';
END;
$$;
