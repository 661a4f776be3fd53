-- Whom a reader, such as a backup or an export, waits for: who locked a table or a sequence of this
-- database exclusively.
-- Run         psql -X -f operations/in_the_way.sql
SELECT DISTINCT
    format(
        '%s (%s, %s, open for %s)',
        coalesce('pid ' || l.pid, 'prepared transaction ' || p.gid),
        coalesce(a.usename, p.owner, a.backend_type, 'a background process'),
        coalesce(nullif(a.application_name, ''), 'no application name'),
        coalesce(
            date_trunc('second', clock_timestamp() - coalesce(a.xact_start, p.prepared))::text,
            'a time this role may not see'
        )
    ) AS in_the_way
FROM pg_locks AS l
INNER JOIN pg_class AS c ON l.relation = c.oid
LEFT JOIN pg_stat_activity AS a ON l.pid = a.pid
LEFT JOIN pg_locks AS x -- the own number of a prepared transaction
    ON l.pid IS NULL AND x.pid IS NULL AND l.virtualtransaction = x.virtualtransaction
LEFT JOIN pg_prepared_xacts AS p ON x.transactionid = p.transaction
WHERE
    l.database = (
        SELECT d.oid FROM pg_database AS d
        WHERE d.datname = current_database()
    )
    AND l.mode = 'AccessExclusiveLock'
    AND c.relkind IN ('r', 'p', 'S')
    AND l.granted
    AND l.pid IS DISTINCT FROM pg_backend_pid()
    AND coalesce(l.pid::text, p.gid) IS NOT NULL
ORDER BY in_the_way;
