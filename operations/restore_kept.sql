-- Puts the tables that a rollback kept in the place of the new, empty ones.
--
-- What it does   Drops the new tables, which must be empty, and moves the kept ones from schema
--                property_v2_kept to public, with all that belongs to them. All or nothing.
-- Locks          ACCESS EXCLUSIVE on both, and on users (the new tables refer to it), for
--                milliseconds, in short tries; after a minute it gives up with SQLSTATE 55P03.
-- Refuses        if the new tables hold rows, or their definition is another (SQLSTATE 42804):
--                then operations/copy_kept.sql takes the rows over, column by column.
-- Run            make restore-kept, after make migrate; or, as the owner of the tables,
--                psql -X -1 -v ON_ERROR_STOP=1 -f operations/restore_kept.sql
-- After          python -m validation validate
-- Proven by      tests/test_kept.py, tests/test_interruptions.py

\ir kept.before.sql
SET LOCAL application_name = 'restore_kept.sql';
SET LOCAL search_path = pg_catalog; -- the definitions below name every schema

DO $$ -- the new tables are there, and defined as the kept ones are
DECLARE
    names CONSTANT name [] := ARRAY(
        SELECT relname FROM pg_class
        WHERE relnamespace = to_regnamespace('property_v2_kept') AND relkind IN ('r', 'p')
            AND relname <> 'kept'
        ORDER BY relname
    );
    differences text;
    homeless text;
BEGIN
    IF EXISTS (SELECT FROM unnest(names) AS n WHERE to_regclass(format('public.%I', n)) IS NULL)
    THEN
        RAISE EXCEPTION 'the new tables are not there'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                HINT = 'Apply the migration first: make migrate.';
    END IF;

    WITH objects AS (
        SELECT
            c.relnamespace = 'public'::regnamespace AS is_new,
            o.kind,
            format('%I.%I', c.relname, o.name) AS name,
            replace(o.definition, 'property_v2_kept.', 'public.') AS definition
        FROM pg_class AS c
        CROSS JOIN LATERAL (
            SELECT
                'column' AS kind,
                a.attname AS name,
                concat_ws(
                    ' ', format_type(a.atttypid, a.atttypmod),
                    'not null ' || nullif(a.attnotnull, FALSE), a.attcollation::regcollation,
                    a.attidentity, a.attgenerated, pg_get_expr(d.adbin, d.adrelid)
                ) AS definition
            FROM pg_attribute AS a
            LEFT JOIN pg_attrdef AS d ON a.attrelid = d.adrelid AND a.attnum = d.adnum
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
            UNION ALL
            SELECT
                'constraint',
                k.conname,
                regexp_replace( -- a dump that was restored has other casts between text types
                    pg_get_constraintdef(k.oid, TRUE), '::(text|character varying)(\[\])?', '', 'g'
                )
            FROM pg_constraint AS k
            WHERE k.conrelid = c.oid AND k.contype <> 'n'
            UNION ALL
            SELECT 'index', r.relname, pg_get_indexdef(r.oid)
            FROM pg_index AS i
            INNER JOIN pg_class AS r ON i.indexrelid = r.oid
            WHERE i.indrelid = c.oid
            UNION ALL
            SELECT 'trigger', t.tgname, pg_get_triggerdef(t.oid)
            FROM pg_trigger AS t
            WHERE t.tgrelid = c.oid AND NOT t.tgisinternal
        ) AS o
        WHERE
            c.relname = ANY(names) AND c.relkind IN ('r', 'p')
            AND c.relnamespace IN (
                'public'::regnamespace, 'property_v2_kept'::regnamespace
            )
    ),

    -- Further indexes and triggers are somebody's own, and come back with the tables.
    unlike AS (
        SELECT
            kind,
            name,
            bool_or(NOT is_new) AND count(DISTINCT is_new) = 1 AS is_kept_only
        FROM objects
        GROUP BY kind, name
        HAVING count(*) = 1 OR min(definition) <> max(definition)
    )

    SELECT
        string_agg(format('%s %s', kind, name), ', ' ORDER BY kind, name),
        string_agg(name, ', ' ORDER BY name) FILTER (WHERE kind = 'column' AND is_kept_only)
    INTO differences, homeless
    FROM unlike
    WHERE NOT (is_kept_only AND kind IN ('index', 'trigger'));
    IF differences IS NOT NULL THEN
        RAISE EXCEPTION 'the new tables are defined otherwise than the kept ones: %',
            differences
            USING ERRCODE = 'datatype_mismatch',
                DETAIL = 'Kept columns without a place: ' || coalesce(homeless, 'none'),
                HINT = 'Take the rows over: operations/copy_kept.sql.';
    END IF;

    -- The constraint sees every committed row, under any isolation and row security.
    PERFORM set_config('property_v2.work', concat_ws(
        '; ',
        string_agg(format('LOCK TABLE property_v2_kept.%I, public.%1$I', n), '; '),
        string_agg(format('ALTER TABLE public.%I ADD CONSTRAINT no_row CHECK (false)', n), '; '),
        'DROP TABLE ' || string_agg(format('public.%I', n), ', '),
        string_agg(format('ALTER TABLE property_v2_kept.%I SET SCHEMA public', n), '; ')
    ), true)
    FROM unnest(names) AS n;
    PERFORM set_config('property_v2.tables', array_agg(oid)::text, true)
    FROM pg_class
    WHERE relname = ANY(names || 'users'::name)
        AND relnamespace IN ('public'::regnamespace, 'property_v2_kept'::regnamespace);
END;
$$;

\ir tries.sql

DROP TABLE property_v2_kept.kept;

DO $$ -- the schema, unless others use it, or the next rollback could not make it anew
BEGIN
    IF has_database_privilege(current_database(), 'CREATE') THEN
        DROP SCHEMA property_v2_kept;
    END IF;
EXCEPTION WHEN dependent_objects_still_exist OR insufficient_privilege THEN
    RAISE NOTICE 'schema property_v2_kept stays: it is not empty, or not yours';
END;
$$;
