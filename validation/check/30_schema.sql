-- The schema: what the migration creates goes into public, and this role may create there.
SELECT
    'current schema' AS check_name,
    CASE current_schema() WHEN 'public' THEN 'pass' ELSE 'fail' END AS status,
    coalesce(current_schema(), 'none') AS found,
    CASE
        WHEN coalesce(current_schema(), '') <> 'public'
            THEN format('ALTER ROLE %I SET search_path = public;', current_user)
    END AS what_to_do
UNION ALL
SELECT
    'may create tables',
    CASE WHEN has_schema_privilege(nspname, 'CREATE') THEN 'pass' ELSE 'fail' END,
    format(
        '%s %s CREATE on schema public',
        current_user, CASE WHEN has_schema_privilege(nspname, 'CREATE') THEN 'has' ELSE 'lacks' END
    ),
    CASE
        WHEN NOT has_schema_privilege(nspname, 'CREATE')
            THEN format('As its owner: GRANT CREATE ON SCHEMA public TO %I;', current_user)
    END
FROM pg_namespace
WHERE nspname = 'public';
