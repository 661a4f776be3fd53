-- Room on disk, for 10,000 properties at least: 4,000 bytes each were measured (docs/benchmark.md),
-- with translations and indexes. SQL cannot see it: python -m validation asks the system when the
-- server is on this machine, and sets property_v2.free_bytes.
SELECT
    'disk space' AS check_name,
    CASE
        WHEN free_bytes IS NULL THEN 'warn'
        WHEN free_bytes < 10000 * 4000 THEN 'fail'
        ELSE 'pass'
    END AS status,
    format(
        '%s free, the database has %s',
        coalesce(pg_size_pretty(free_bytes), 'unknown'),
        pg_size_pretty(pg_database_size(current_database()))
    ) AS found,
    format(
        '%s: 10,000 properties take 40 MB, and with embeddings 160 MB.',
        CASE WHEN free_bytes IS NULL THEN 'Ask the server (df -h)' ELSE 'Make room first' END
    ) AS what_to_do
FROM (
    SELECT nullif(current_setting('property_v2.free_bytes', TRUE), '')::bigint AS free_bytes
) AS room;
