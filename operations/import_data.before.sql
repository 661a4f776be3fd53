-- First third of an import: the six tables, empty, are made ready for the rows.
--
-- What it does   Drops the secondary indexes, and the unique and foreign keys between the six
--                tables, noting how to build them again: they are built faster than kept up. The
--                foreign keys to users wait for the end, and updated_at is left as it comes.
-- Locks          ACCESS EXCLUSIVE on the six tables until the end: nobody sees half an import.
--                users: only the row locks of its foreign keys.
-- How to run     make import-data. By hand, with DIR from make export-data, in one transaction:
--                pg_restore --data-only -f - DIR | psql -X -1 -v ON_ERROR_STOP=1
--                -f import_data.before.sql -f - -v counts="$(cat DIR/row_counts.json)"
--                -f import_data.after.sql

SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = 0;
SET LOCAL idle_in_transaction_session_timeout = 0;
SET LOCAL client_min_messages = warning;
SET LOCAL maintenance_work_mem = '256MB';

DO $$
BEGIN
    IF to_regclass('public.properties') IS NULL THEN
        RAISE EXCEPTION 'the tables are not there'
            USING HINT = 'Apply the migration first: make migrate.';
    END IF;
    -- A killed import stops at once, not when its index is built.
    PERFORM set_config('client_connection_check_interval', '500ms', true);
EXCEPTION WHEN invalid_parameter_value THEN
    NULL; -- a server on Windows cannot see that its client is gone
END;
$$;

LOCK TABLE public.property_translations, public.properties, public.policy_translations,
public.policies, public.amenity_translations, public.amenities IN ACCESS EXCLUSIVE MODE;

DO $$
DECLARE
    table_name text;
    row_count bigint;
    there text;
BEGIN
    FOREACH table_name IN ARRAY ARRAY[
        'amenities', 'amenity_translations', 'policies', 'policy_translations', 'properties',
        'property_translations'
    ] LOOP
        EXECUTE format('SELECT count(*) FROM public.%I', table_name) INTO row_count;
        IF row_count > 0 THEN
            there := concat_ws(', ', there, row_count || ' ' || table_name);
        END IF;
    END LOOP;
    IF there IS NOT NULL THEN
        RAISE EXCEPTION 'the tables are not empty: %', there
            USING HINT = 'An import only fills empty tables; export and roll back first.';
    END IF;
END;
$$;

CREATE TEMP TABLE rebuild ON COMMIT DROP AS
WITH six AS (
    SELECT c.oid
    FROM pg_class AS c
    WHERE
        c.relnamespace = 'public'::regnamespace
        AND c.relname IN (
            'amenities', 'amenity_translations', 'policies', 'policy_translations',
            'properties', 'property_translations'
        )
)

SELECT
    CASE k.contype WHEN 'f' THEN 1 ELSE 2 END AS turn,
    format('ALTER TABLE %s DROP CONSTRAINT %I', k.conrelid::regclass, k.conname) AS drop_it,
    format(
        'ALTER TABLE %s ADD CONSTRAINT %I %s',
        k.conrelid::regclass, k.conname, pg_get_constraintdef(k.oid)
    ) AS make_it
FROM pg_constraint AS k
WHERE
    k.conrelid IN (SELECT six.oid FROM six)
    AND (k.contype = 'u' OR k.contype = 'f' AND k.confrelid IN (SELECT six.oid FROM six))
UNION ALL
SELECT
    3,
    format('DROP INDEX %s', i.indexrelid::regclass),
    pg_get_indexdef(i.indexrelid)
FROM pg_index AS i
WHERE
    i.indrelid IN (SELECT six.oid FROM six)
    AND NOT EXISTS (
        SELECT FROM pg_constraint AS k
        WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x')
    );

DO $$
DECLARE
    drop_it text;
BEGIN
    FOR drop_it IN SELECT r.drop_it FROM rebuild AS r ORDER BY r.turn LOOP
        EXECUTE drop_it;
    END LOOP;
END;
$$;

ALTER TABLE public.properties
ALTER CONSTRAINT properties_created_by_fkey DEFERRABLE INITIALLY DEFERRED,
ALTER CONSTRAINT properties_updated_by_fkey DEFERRABLE INITIALLY DEFERRED,
DISABLE TRIGGER update_properties_updated_at;

-- setval, which comes with the rows, is undone with all the rest only in a file made here.
ALTER SEQUENCE public.amenity_translations_id_seq RESTART WITH 1;
ALTER SEQUENCE public.policy_translations_id_seq RESTART WITH 1;
ALTER SEQUENCE public.property_translations_id_seq RESTART WITH 1;
