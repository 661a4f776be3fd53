-- Translation coverage: how many percent of the listings have each text in each locale. The first
-- 1,000 ids are a random sample, since ids are random: true within 4 percentage points. The number
-- of listings is joined: a Citus cluster takes no subquery in the list.
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
    round(100.0 * count(*) / max(n.listings)) AS percent
FROM sample AS s
INNER JOIN property_translations AS t ON s.id = t.property_id
CROSS JOIN (SELECT count(*) AS listings FROM sample) AS n -- noqa: ST05, as measured there
GROUP BY t.locale, t.field
ORDER BY t.locale, t.field;
