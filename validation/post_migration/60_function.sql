-- The trigger function: body (white space and case aside), language and attributes. It may be
-- shared: its owner is the owner of the tables or a role that this one belongs to.
WITH expected (name, definition) AS (
    VALUES
    (
        'update_updated_at_column()',
        'trigger plpgsql begin new.updated_at = current_timestamp; return new; end'
    )
),

found (name, definition) AS (
    SELECT
        p.proname || '()',
        concat_ws(
            ' ',
            p.prorettype::regtype,
            l.lanname,
            trim(BOTH ' ;' FROM regexp_replace(lower(p.prosrc), '\s+', ' ', 'g')),
            CASE WHEN p.prosecdef THEN '(security definer)' END,
            CASE p.provolatile WHEN 'v' THEN NULL ELSE '(not volatile)' END,
            '(' || array_to_string(p.proconfig, ', ') || ')',
            CASE
                WHEN NOT pg_has_role(t.relowner, p.proowner, 'MEMBER')
                    THEN format('(owned by %s)', p.proowner::regrole)
            END
        )
    FROM pg_proc AS p
    INNER JOIN pg_language AS l ON p.prolang = l.oid
    LEFT JOIN pg_class AS t ON t.oid = to_regclass('public.properties')
    WHERE p.oid = to_regprocedure('public.update_updated_at_column()')
)

SELECT
    'function' AS check_name,
    CASE WHEN found.definition = expected.definition THEN 'pass' ELSE 'fail' END AS status,
    CASE
        WHEN found.definition = expected.definition
            THEN name || ' as specified'
        ELSE format(
            '%s: expected %s; found %s',
            name, coalesce(expected.definition, 'nothing'), coalesce(found.definition, 'nothing')
        )
    END AS found,
    CASE
        WHEN found.definition = expected.definition THEN NULL
        ELSE 'Take it from migrations/0001_property_v2.sql; see first who else uses it.'
    END AS what_to_do
FROM expected
FULL JOIN found USING (name)
ORDER BY name;
