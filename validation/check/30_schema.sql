-- The schema: what the migration creates goes into public.
SELECT
    'current schema' AS check_name,
    CASE current_schema() WHEN 'public' THEN 'pass' ELSE 'fail' END AS status,
    coalesce(current_schema(), 'none') AS found,
    CASE
        WHEN coalesce(current_schema(), '') <> 'public'
            THEN format(
                'ALTER ROLE %I IN DATABASE %I SET search_path = %s;',
                session_user, current_database(), (
                    SELECT string_agg(quote_ident(s.name), ', ' ORDER BY s.place)
                    FROM unnest(
                        array_prepend('public', array_remove(current_schemas(FALSE), 'public'))
                    ) WITH ORDINALITY AS s (name, place)
                )
            )
    END AS what_to_do;
