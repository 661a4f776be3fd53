-- What there is to say about where things stand, as one value; validation/state.py judges it.
-- By hand: psql -X -q -At -f validation/state.sql
--
-- marks          our migrations that yoyo has marked; an application may have its own beside them
-- lock           the row of yoyo's lock: since when, and the process that wrote it, where it ran
-- sessions       who is at work: files of migrations, and those for kept tables, set
--                application_name for as long as they run; of yoyo's own sessions, those now at its
--                tables. One that idles proves nothing: its last statement may be long past.
-- kept           what a rollback kept, of which migration, and the publications that still name it
DO $$
DECLARE
    facts jsonb := '{"marks": [], "lock": null}';
    kept jsonb;
    found jsonb;
    tables text;
    owner regrole;
BEGIN
    SELECT
        string_agg(relname, ', ' ORDER BY relname),
        relowner
    INTO tables, owner
    FROM pg_class
    WHERE relnamespace = to_regnamespace('public')
        AND relname IN ('_yoyo_log', '_yoyo_migration', '_yoyo_version', 'yoyo_lock')
        AND NOT has_table_privilege(oid, 'SELECT')
    GROUP BY relowner
    HAVING bool_or(relname IN ('_yoyo_migration', 'yoyo_lock')); -- which are read here
    IF tables IS NOT NULL THEN
        RAISE EXCEPTION '% may not read % of %', current_user, tables, owner
            USING ERRCODE = 'insufficient_privilege', HINT = format(
                'As %s: GRANT SELECT, INSERT, DELETE ON %s TO %I;', owner, tables, current_user
            );
    END IF;
    IF to_regclass('public._yoyo_migration') IS NOT NULL THEN
        SELECT coalesce(jsonb_agg(migration_id), '[]') INTO found
        FROM public._yoyo_migration
        WHERE migration_id ~ '^\d{4}_property_v2';
        facts := facts || jsonb_build_object('marks', found);
    END IF;
    IF to_regclass('public.yoyo_lock') IS NOT NULL THEN
        SELECT jsonb_build_object('pid', pid, 'since', date_trunc('second', ctime)::text || ' UTC')
        INTO found
        FROM public.yoyo_lock;
        facts := facts || jsonb_build_object('lock', found);
    END IF;
    SELECT coalesce(jsonb_agg(jsonb_build_object(
        'pid', pid,
        'name', application_name,
        'who', format(
            'pid %s of %s (%s), for %s', pid, usename, application_name,
            coalesce(date_trunc('second', clock_timestamp() - xact_start)::text, '?')
        )
    ) ORDER BY pid), '[]')
    INTO found
    FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
        AND (
            application_name ~ '^\d{4}_property_v2|_kept[.]sql$|^yoyo$'
            OR state <> 'idle' AND query ~ '"(_yoyo_\w+|yoyo_lock)"'
        );
    facts := facts || jsonb_build_object('sessions', found);
    SELECT jsonb_build_object(
        'tables', jsonb_agg(relname ORDER BY relname),
        'since', '?',
        'publications', (
            SELECT coalesce(jsonb_agg(DISTINCT quote_ident(pubname)), '[]')
            FROM pg_publication_tables
            WHERE schemaname = 'property_v2_kept' AND tablename = ANY(array_agg(relname))
        )
    )
    INTO kept
    FROM pg_class
    WHERE relnamespace = to_regnamespace('property_v2_kept') AND relkind IN ('r', 'p')
        AND relname <> 'kept'
    HAVING count(*) > 0;
    IF EXISTS (
        SELECT FROM pg_class
        WHERE relnamespace = to_regnamespace('property_v2_kept') AND relname = 'kept'
            AND has_schema_privilege(relnamespace, 'USAGE') AND has_table_privilege(oid, 'SELECT')
            -- Whoever moves the tables holds this one to the end.
            AND NOT jsonb_path_exists(facts, '$.sessions[*] ? (@.name like_regex "_kept[.]sql$")')
    ) THEN
        SELECT jsonb_build_object(
            'migration', max(migration), 'since', date_trunc('second', max(since))::text
        )
        INTO found
        FROM property_v2_kept.kept;
        kept := kept || jsonb_strip_nulls(found);
    END IF;
    PERFORM set_config(
        'property_v2.state', (facts || jsonb_build_object('kept', kept))::text, false
    );
END;
$$;

SELECT jsonb_pretty(current_setting('property_v2.state')::jsonb) AS state;
