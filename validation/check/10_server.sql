-- The server: a primary, of a version that this schema is tested with, and a database in UTF-8.
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
WHERE datname = current_database();
