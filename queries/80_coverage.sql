-- Translation coverage: how many percent of the listings have each text in each locale. The first
-- 1,000 ids are a random sample, since ids are random: true within 4 percentage points.
-- Index  properties_pkey
-- Limit  50 ms
WITH sample AS MATERIALIZED (
    SELECT id
    FROM properties
    WHERE deleted_at IS NULL
    ORDER BY id
    LIMIT 1000
)

SELECT
    t.locale,
    t.field,
    round(100.0 * count(*) / (SELECT count(*) FROM sample)) AS percent
FROM sample AS s
INNER JOIN property_translations AS t ON s.id = t.property_id
GROUP BY t.locale, t.field
ORDER BY t.locale, t.field;
