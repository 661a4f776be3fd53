-- Logical replication from here: it has no DDL, and a subscriber stops at a row of a table that it
-- has not.
WITH publications AS (
    SELECT
        p.pubname,
        p.puballtables OR EXISTS (
            SELECT FROM pg_publication_namespace AS n
            WHERE n.pnpubid = p.oid AND n.pnnspid = 'public'::regnamespace
        ) AS has_all
    FROM pg_publication AS p
    INNER JOIN pg_publication_tables AS t ON p.pubname = t.pubname
    WHERE t.schemaname = 'public' AND t.tablename = 'users'
),

found AS (
    SELECT
        CASE
            WHEN has_all
                THEN
                    format('%I publishes whatever is made in public, yoyo''s tables too: ', pubname)
                    || 'a subscriber without them stops, for users as well'
            ELSE format('%I publishes users, and will not publish the new tables', pubname)
        END AS found,
        CASE
            WHEN has_all
                THEN
                    'Apply it on each subscriber first, by psql if yoyo''s tables are replicated '
                    'there already; the runbook says what comes then.'
            ELSE
                format(
                    'When subscribers have them, too: ALTER PUBLICATION %I ADD TABLE %s;',
                    pubname, replace(current_setting('property_v2.tables', TRUE), ',', ', ')
                )
        END AS what_to_do
    FROM publications
)

SELECT
    'publications' AS check_name,
    'warn' AS status,
    found,
    what_to_do
FROM found
UNION ALL
SELECT
    'publications',
    'pass',
    'none has users',
    NULL
WHERE NOT EXISTS (SELECT FROM found);
