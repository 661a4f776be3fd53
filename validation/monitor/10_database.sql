-- Database
SELECT
    datname AS database_name,
    numbackends AS sessions,
    deadlocks,
    temp_bytes AS temporary_files_bytes,
    CASE WHEN pg_is_in_recovery() THEN 'standby' ELSE 'primary' END AS server_role,
    current_setting('server_version') AS postgresql,
    pg_database_size(datname) AS size_bytes,
    round(100.0 * blks_hit / nullif(blks_hit + blks_read, 0), 1)::float AS cache_hit_percent,
    coalesce(
        date_trunc('second', stats_reset)::text, 'the beginning, or the last crash'
    ) AS counted_since
FROM pg_stat_database
WHERE datname = current_database();
