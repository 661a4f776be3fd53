-- By which of its objects each migration is known to be there, and what is found of them. Runs
-- with the two lists of validate/10_objects.sql (validation/expectation.py).
-- What a table has in it comes and goes with the table. What was there before is known by its new
-- definition, or by being gone. A function may be shared: it speaks only for a migration that
-- makes nothing else.
WITH changes AS (
    SELECT
        e.*,
        e.kind IN ('column', 'constraint', 'trigger', 'comment') AS is_part,
        earlier.name IS NOT NULL AS replaces,
        later.name IS NOT NULL AS is_replaced
    FROM expected AS e
    LEFT JOIN expected AS earlier
        ON e.migration = earlier.removed_by AND e.kind = earlier.kind AND e.name = earlier.name
    LEFT JOIN expected AS later
        ON e.removed_by = later.migration AND e.kind = later.kind AND e.name = later.name
),

evidence AS (
    SELECT
        e.migration,
        e.kind,
        e.kind AS expected_kind,
        e.name,
        e.removed_by IS NOT NULL AS may_be_gone,
        e.is_part OR e.replaces OR e.kind = 'function' AS is_exact,
        CASE WHEN e.replaces THEN e.definition END AS definition,
        NULL AS made_by
    FROM changes AS e
    WHERE
        NOT e.is_part
        AND e.kind <> 'function'
        OR e.is_part
        AND NOT EXISTS (
            SELECT FROM changes AS t
            WHERE
                t.kind = 'table' AND NOT t.replaces AND t.migration = e.migration
                AND t.name = split_part(e.name, '.', 1)
        )
        OR e.kind = 'function'
        AND NOT EXISTS (
            SELECT FROM expected AS o
            WHERE o.migration = e.migration AND o.kind <> 'function'
        )
    UNION ALL
    SELECT
        e.removed_by,
        e.kind,
        'dropped ' || e.kind,
        e.name,
        FALSE,
        TRUE,
        NULL,
        e.migration
    FROM changes AS e
    WHERE
        e.removed_by IS NOT NULL
        AND NOT e.is_replaced
        AND NOT (
            e.is_part AND EXISTS (
                SELECT FROM changes AS t
                WHERE
                    t.kind = 'table' AND NOT t.is_replaced AND t.removed_by = e.removed_by
                    AND t.name = split_part(e.name, '.', 1)
            )
        )
)

SELECT
    e.migration,
    e.expected_kind,
    e.name,
    c.owned_by::regrole::text AS owned_by,
    CASE
        WHEN e.made_by IS NULL AND c.definition LIKE '%(invalid)%' THEN 'invalid ' || c.kind
        WHEN e.made_by IS NULL THEN c.kind
        -- Gone, and not because it has yet to come
        WHEN
            c.kind IS NULL AND EXISTS (
                SELECT FROM expected AS o
                INNER JOIN catalog AS f ON o.kind = f.kind AND o.name = f.name
                WHERE o.migration = e.made_by AND o.kind <> 'function'
            )
            THEN e.expected_kind
    END AS found_kind
FROM evidence AS e
LEFT JOIN catalog AS c
    ON
        e.name = c.name
        AND (e.definition IS NULL OR e.definition = c.definition)
        AND CASE
            WHEN e.is_exact THEN e.kind = c.kind
            WHEN c.kind = 'type' THEN e.kind IN ('table', 'type')
            ELSE c.kind NOT IN ('column', 'constraint', 'trigger', 'comment', 'function')
        END
WHERE c.kind IS NOT NULL OR NOT e.may_be_gone
ORDER BY e.migration, e.expected_kind, e.name
