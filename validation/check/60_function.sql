-- The trigger function: absent, or the same as ours, which is then shared and survives a rollback.
WITH existing AS (
    SELECT
        p.proowner::regrole AS function_owner,
        rtrim(regexp_replace(lower(p.prosrc), '\s', '', 'g'), ';')
        = 'beginnew.updated_at=current_timestamp;returnnew;end' AS is_same
    FROM pg_proc AS p
    WHERE p.oid = to_regprocedure('public.update_updated_at_column()')
)

SELECT
    'trigger function' AS check_name,
    CASE WHEN is_same THEN 'pass' ELSE 'fail' END AS status,
    CASE
        WHEN is_same
            THEN format(
                'update_updated_at_column() of %s is there and the same; it will be shared',
                function_owner
            )
        ELSE format('another update_updated_at_column() is there, of %s', function_owner)
    END AS found,
    CASE
        WHEN NOT is_same
            THEN 'Compare the two (\sf update_updated_at_column) and rename the one that is there.'
    END AS what_to_do
FROM existing
UNION ALL
SELECT
    'trigger function',
    'pass',
    'update_updated_at_column() is free',
    NULL
WHERE NOT EXISTS (SELECT FROM existing);
