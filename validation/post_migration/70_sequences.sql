-- The sequence behind every serial column: type, bounds, and the column that owns it.
WITH expected (name, definition) AS (
    VALUES
    (
        'amenity_translations_id_seq',
        'integer start 1 by 1 from 1 to 2147483647 cache 1 owned by amenity_translations.id'
    ),
    (
        'policy_translations_id_seq',
        'integer start 1 by 1 from 1 to 2147483647 cache 1 owned by policy_translations.id'
    ),
    (
        'property_translations_id_seq',
        'integer start 1 by 1 from 1 to 2147483647 cache 1 owned by property_translations.id'
    )
),

found (name, definition) AS (
    SELECT
        c.relname,
        concat_ws(
            ' ',
            format(
                '%s start %s by %s from %s to %s cache %s',
                s.seqtypid::regtype, s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache
            ),
            CASE WHEN s.seqcycle THEN 'cycle' END,
            CASE c.relpersistence WHEN 'u' THEN 'unlogged' END,
            format('owned by %s.%s', t.relname, a.attname)
        )
    FROM pg_sequence AS s
    INNER JOIN pg_class AS c ON s.seqrelid = c.oid
    LEFT JOIN pg_depend AS d
        ON
            c.oid = d.objid
            AND d.classid = 'pg_class'::regclass
            AND d.refclassid = 'pg_class'::regclass
            AND d.deptype IN ('a', 'i')
    LEFT JOIN pg_class AS t ON d.refobjid = t.oid
    LEFT JOIN pg_attribute AS a ON d.refobjid = a.attrelid AND d.refobjsubid = a.attnum
    WHERE
        c.relnamespace = 'public'::regnamespace
        AND (
            c.relname IN (SELECT expected.name FROM expected)
            OR t.relname IN (
                'amenities', 'amenity_translations', 'policies', 'policy_translations',
                'properties', 'property_translations'
            )
        )
)

SELECT
    'sequences' AS check_name,
    CASE WHEN found.definition = expected.definition THEN 'pass' ELSE 'fail' END AS status,
    CASE
        WHEN found.definition = expected.definition
            THEN format('%s: %s', name, found.definition)
        ELSE format(
            '%s: expected %s; found %s',
            name, coalesce(expected.definition, 'nothing'), coalesce(found.definition, 'nothing')
        )
    END AS found,
    CASE
        WHEN expected.definition IS NULL
            THEN format('If nobody needs it: DROP SEQUENCE %I;', name)
        WHEN found.definition IS NULL OR found.definition <> expected.definition
            THEN format(
                'CREATE SEQUENCE or ALTER SEQUENCE %s … AS integer OWNED BY %s.id;',
                name, replace(name, '_id_seq', '')
            )
    END AS what_to_do
FROM expected
FULL JOIN found USING (name)
ORDER BY name;
