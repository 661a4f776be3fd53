-- The sessions at work on this database that belong to a migration, its rollback, or what became of
-- kept tables: the files themselves set application_name for as long as they run, and yoyo's
-- bookkeeping names its tables.
SELECT
    a.pid,
    a.application_name,
    format(
        'pid %s of %s (%s), for %s', a.pid, a.usename, a.application_name,
        coalesce(date_trunc('second', clock_timestamp() - a.xact_start)::text, '?')
    ) AS who
FROM pg_stat_activity AS a
WHERE
    a.datname = current_database()
    AND a.pid <> pg_backend_pid()
    AND a.application_name NOT IN ('python -m validation', 'python -m operations')
    AND (
        a.application_name ~ '^\d{4}_|_kept[.]sql$' OR a.application_name LIKE '%yoyo%'
        OR a.query LIKE '%yoyo%'
    )
ORDER BY a.pid;
