-- Room on disk. SQL cannot see it: python -m validation asks the system when the server is on this
-- machine, and sets property_v2.free_bytes.
SELECT
    'disk space' AS check_name,
    CASE
        WHEN free_bytes IS NULL THEN 'warn'
        WHEN free_bytes < 300 * 1024 * 1024 THEN 'fail'
        ELSE 'pass'
    END AS status,
    format(
        '%s free, the database has %s',
        coalesce(pg_size_pretty(free_bytes), 'unknown'),
        pg_size_pretty(pg_database_size(current_database()))
    ) AS found,
    CASE
        WHEN free_bytes IS NULL
            THEN 'Ask the server (df -h): about 300 MB are needed per 10,000 properties.'
        WHEN free_bytes < 300 * 1024 * 1024
            THEN 'Make room first: about 300 MB are needed per 10,000 properties.'
    END AS what_to_do
FROM (
    SELECT nullif(current_setting('property_v2.free_bytes', TRUE), '')::bigint AS free_bytes
) AS room;
