-- May this role create what the migration creates? What the catalog cannot answer (event triggers,
-- settings, privileges in all their ways) is tried: a small table with sequence, indexes, foreign
-- key, function, trigger and comment, and a row, in a subtransaction that is undone.
-- Locks       Only what it makes.
DO $do$
DECLARE
    step text;
    refusal text := '';
BEGIN
    PERFORM set_config('lock_timeout', '1s', true);
    BEGIN
        FOREACH step IN ARRAY ARRAY[
            $$CREATE TABLE public.property_v2_trial (
                id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
                number serial UNIQUE CHECK (number > 0),
                document jsonb NOT NULL DEFAULT '{}'::jsonb,
                made_at timestamptz DEFAULT current_timestamp
            )$$,
            'ALTER TABLE public.property_v2_trial ADD COLUMN parent uuid, ADD FOREIGN KEY (parent) '
            'REFERENCES public.property_v2_trial (id) ON DELETE SET NULL',
            CASE -- else 20_extension.sql says what is wrong with it
                WHEN has_type_privilege(to_regtype('vector'), 'USAGE')
                    THEN 'ALTER TABLE public.property_v2_trial ADD COLUMN embedding vector(1536)'
                ELSE 'SELECT'
            END,
            'CREATE INDEX ON public.property_v2_trial USING gin (document jsonb_path_ops)',
            'CREATE FUNCTION public.property_v2_trial() RETURNS trigger LANGUAGE plpgsql '
            'AS ''BEGIN RETURN NEW; END''',
            'CREATE TRIGGER trial BEFORE UPDATE ON public.property_v2_trial '
            'FOR EACH ROW EXECUTE FUNCTION public.property_v2_trial()',
            $$COMMENT ON TABLE public.property_v2_trial IS 'undone'$$,
            'INSERT INTO public.property_v2_trial DEFAULT VALUES',
            'DROP TABLE public.property_v2_trial',
            'DROP FUNCTION public.property_v2_trial()'
        ] LOOP
            EXECUTE step;
        END LOOP;
        RAISE EXCEPTION 'undo' USING ERRCODE = 'PV200';
    EXCEPTION
        WHEN SQLSTATE 'PV200' THEN NULL;
        WHEN OTHERS THEN
            refusal := format('%s: %s', substring(step FROM '^[A-Z]+ [A-Z]+'), SQLERRM);
    END;
    PERFORM set_config('property_v2.trial', refusal, false);
END;
$do$;

WITH trial AS (
    SELECT
        nullif(current_setting('property_v2.trial'), '') AS refusal,
        nullif(current_setting('default_table_access_method'), 'heap') AS access_method,
        format('ALTER ROLE %I IN DATABASE %I SET', session_user, current_database()) AS role_set,
        (
            SELECT count(*) > 0
            FROM pg_tablespace
            WHERE
                spcname = current_setting('default_tablespace')
                AND NOT has_tablespace_privilege(oid, 'CREATE')
        ) AS lacks_tablespace,
        (
            SELECT string_agg(format('ALTER EVENT TRIGGER %I DISABLE;', evtname), ' ')
            FROM pg_event_trigger
            WHERE evtenabled <> 'D'
        ) AS event_triggers
)

SELECT
    'may create tables' AS check_name,
    CASE
        WHEN refusal IS NOT NULL THEN 'fail'
        WHEN access_method IS NOT NULL THEN 'warn'
        ELSE 'pass'
    END AS status,
    coalesce(
        refusal,
        'default_table_access_method is ' || access_method,
        format('%s may: a trial was made, dropped and undone', current_user)
    ) AS found,
    CASE
        WHEN pg_is_in_recovery() THEN 'Apply on the primary.'
        WHEN current_setting('transaction_read_only')::boolean
            THEN format(
                'Ask who made it read-only, and why. Then: '
                'BEGIN READ WRITE; %s default_transaction_read_only = off; COMMIT;', role_set
            )
        WHEN NOT has_schema_privilege('public', 'CREATE')
            THEN format('As its owner: GRANT CREATE ON SCHEMA public TO %I;', current_user)
        WHEN access_method IS NOT NULL
            THEN format(
                'The migration is tested on heap: %s default_table_access_method = heap;', role_set
            )
        WHEN lacks_tablespace THEN format('%s default_tablespace = pg_default;', role_set)
        WHEN event_triggers IS NOT NULL
            THEN 'If an event trigger says so, ask for it to be off meanwhile: ' || event_triggers
        ELSE 'The migration would meet the same: do what the message says.'
    END AS what_to_do
FROM trial;
