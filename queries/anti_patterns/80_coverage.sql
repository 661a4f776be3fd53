-- Over all translations: reads three million of them.
WITH sample AS MATERIALIZED (
    SELECT id
    FROM properties
    WHERE deleted_at IS NULL
)

SELECT
    t.locale,
    t.field,
    round(100.0 * count(*) / (SELECT count(*) FROM sample)) AS percent
FROM sample AS s
INNER JOIN property_translations AS t ON s.id = t.property_id
GROUP BY t.locale, t.field
ORDER BY t.locale, t.field;
