-- yoyo's own tables, which may belong to the role of the application's migrations: may this role
-- read and write in each what yoyo does?
WITH lacking AS (
    SELECT
        c.relname,
        c.relowner::regrole AS table_owner,
        string_agg(n.needed, ', ' ORDER BY n.needed DESC) AS rights
    FROM (
        VALUES
        ('_yoyo_log', 'INSERT'),
        ('_yoyo_migration', 'SELECT'),
        ('_yoyo_migration', 'INSERT'),
        ('_yoyo_migration', 'DELETE'),
        ('_yoyo_version', 'SELECT'),
        ('yoyo_lock', 'SELECT'),
        ('yoyo_lock', 'INSERT'),
        ('yoyo_lock', 'DELETE')
    ) AS n (table_name, needed)
    INNER JOIN pg_class AS c ON to_regclass('public.' || n.table_name) = c.oid
    WHERE NOT has_table_privilege(c.oid, n.needed)
    GROUP BY c.relname, c.relowner
)

SELECT
    'yoyo tables' AS check_name,
    'fail' AS status,
    format('%s lacks %s on %s of %s', current_user, rights, relname, table_owner) AS found,
    format('As %s: GRANT %s ON %s TO %I;', table_owner, rights, relname, current_user) AS what_to_do
FROM lacking
UNION ALL
SELECT
    'yoyo tables',
    'pass',
    CASE
        WHEN to_regclass('public._yoyo_migration') IS NULL THEN 'yoyo will make them'
        ELSE format('%s may use them', current_user)
    END,
    NULL
WHERE NOT EXISTS (SELECT FROM lacking);
