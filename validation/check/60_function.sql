-- The trigger function: absent, or the same as ours, which is then shared and survives a rollback;
-- and its language, in which the migration and most checks are written, too.
WITH existing AS (
    SELECT
        p.proowner::regrole AS function_owner,
        has_function_privilege(p.oid, 'EXECUTE') AS may_execute,
        NOT p.prosecdef AND p.provolatile = 'v' AND p.proconfig IS NULL AS is_plain,
        rtrim(regexp_replace(lower(p.prosrc), '\s', '', 'g'), ';')
        = 'beginnew.updated_at=current_timestamp;returnnew;end' AS is_same
    FROM pg_proc AS p
    WHERE p.oid = to_regprocedure('public.update_updated_at_column()')
)

SELECT
    'trigger function' AS check_name,
    CASE WHEN is_same AND is_plain AND may_execute THEN 'pass' ELSE 'fail' END AS status,
    CASE
        WHEN NOT is_same
            THEN format('another update_updated_at_column() is there, of %s', function_owner)
        WHEN NOT is_plain
            THEN 'update_updated_at_column() does the same, but not as validation wants it'
        WHEN NOT may_execute
            THEN format('%s lacks EXECUTE on update_updated_at_column()', current_user)
        ELSE
            format(
                'update_updated_at_column() of %s is there and the same; it will be shared',
                function_owner
            )
    END AS found,
    CASE
        WHEN NOT is_same
            THEN 'Compare the two (\sf update_updated_at_column) and rename the one that is there.'
        WHEN NOT is_plain
            THEN format(
                'See first who uses it. As %s: ALTER FUNCTION public.update_updated_at_column() '
                'VOLATILE SECURITY INVOKER RESET ALL;', function_owner
            )
        WHEN NOT may_execute
            THEN format(
                'As %s: GRANT EXECUTE ON FUNCTION public.update_updated_at_column() TO %I;',
                function_owner, current_user
            )
    END AS what_to_do
FROM existing
UNION ALL
SELECT
    'trigger function',
    'pass',
    'update_updated_at_column() is free',
    NULL
WHERE NOT EXISTS (SELECT FROM existing);
