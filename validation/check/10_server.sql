-- The server: a primary, of a version that this schema is tested with, a database in UTF-8, and
-- room for the two sessions of yoyo beside this one.
WITH used AS (
    SELECT
        count(*) FILTER (WHERE usename = session_user) AS of_role,
        count(*) FILTER (WHERE datname = current_database()) AS of_database,
        count(*) FILTER (WHERE datname IS NOT NULL AND usename IS NOT NULL) AS of_server
    FROM pg_stat_activity
)

SELECT
    'server' AS check_name,
    CASE
        WHEN pg_is_in_recovery() THEN 'fail'
        WHEN current_setting('server_version_num')::integer < 160000 THEN 'fail'
        WHEN current_setting('server_version_num')::integer >= 190000 THEN 'warn'
        ELSE 'pass'
    END AS status,
    format(
        'PostgreSQL %s%s',
        current_setting('server_version'),
        CASE WHEN pg_is_in_recovery() THEN ', a standby' END
    ) AS found,
    CASE
        WHEN pg_is_in_recovery() THEN 'Apply on the primary; the standby follows by itself.'
        WHEN current_setting('server_version_num')::integer < 160000
            THEN 'Upgrade: the migration is tested on 16 and 18.'
        WHEN current_setting('server_version_num')::integer >= 190000
            THEN 'The migration is tested on 16 and 18: rehearse it first.'
    END AS what_to_do
UNION ALL
SELECT
    'encoding',
    CASE pg_encoding_to_char(encoding) WHEN 'UTF8' THEN 'pass' ELSE 'fail' END,
    pg_encoding_to_char(encoding)::text,
    CASE
        WHEN pg_encoding_to_char(encoding) <> 'UTF8'
            THEN 'Thai needs UTF8: dump this database and restore it into one created with it.'
    END
FROM pg_database
WHERE datname = current_database()
UNION ALL
(
    SELECT
        'connections',
        CASE WHEN rest.free < 2 THEN 'fail' ELSE 'pass' END,
        CASE
            WHEN rest.free < 2
                THEN format('%s has room for %s more, yoyo needs 2', rest.whose, rest.free)
            ELSE 'there is room for the two of yoyo'
        END,
        CASE WHEN rest.free < 2 THEN rest.way_out END
    FROM pg_roles AS r
    INNER JOIN pg_database AS d ON d.datname = current_database()
    CROSS JOIN used
    CROSS JOIN
        LATERAL (
            VALUES
            (
                nullif(r.rolconnlimit, -1) - used.of_role,
                'role ' || r.rolname,
                format('ALTER ROLE %I CONNECTION LIMIT -1;', r.rolname)
            ),
            (
                nullif(d.datconnlimit, -1) - used.of_database,
                'database ' || d.datname,
                format('ALTER DATABASE %I CONNECTION LIMIT -1;', d.datname)
            ),
            (
                current_setting('max_connections')::integer
                - current_setting('superuser_reserved_connections')::integer
                - current_setting('reserved_connections')::integer
                - used.of_server,
                'the server',
                'Wait until sessions end, or raise max_connections.'
            )
        ) AS rest (free, whose, way_out)
    WHERE r.rolname = session_user
    ORDER BY rest.free ASC
    LIMIT 1
);
