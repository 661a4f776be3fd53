-- Whom a restore, a drop or a backup waits for: who holds users, kept tables or the new ones of the
-- same names, and who locked any other table exclusively, which is what a backup waits for.
-- Run         psql -X -f operations/in_the_way.sql
SELECT
    a.application_name,
    coalesce('pid ' || l.pid, 'prepared transaction ' || p.gid) AS in_the_way,
    coalesce(a.usename, p.owner, a.backend_type, 'a background process') AS user_name,
    coalesce(
        date_trunc('second', clock_timestamp() - coalesce(a.xact_start, p.prepared))::text,
        'a time this role may not see'
    ) AS open_for,
    bool_or(l.mode = 'AccessExclusiveLock' AND c.relkind IN ('r', 'p')) AS shuts_out_readers
FROM pg_locks AS l
INNER JOIN pg_database AS d ON l.database = d.oid
LEFT JOIN pg_class AS c ON l.relation = c.oid
LEFT JOIN pg_stat_activity AS a ON l.pid = a.pid
LEFT JOIN pg_locks AS x -- the own number of a prepared transaction
    ON l.pid IS NULL AND x.pid IS NULL AND l.virtualtransaction = x.virtualtransaction
LEFT JOIN pg_prepared_xacts AS p ON x.transactionid = p.transaction
WHERE
    d.datname = current_database()
    AND l.granted
    AND l.pid IS DISTINCT FROM pg_backend_pid()
    AND coalesce(l.pid::text, p.gid) IS NOT NULL
    AND (
        l.mode = 'AccessExclusiveLock' AND c.relkind IN ('r', 'p')
        OR l.relation = to_regclass('public.users')
        OR c.relname IN (
            SELECT k.relname
            FROM pg_class AS k
            WHERE k.relnamespace = to_regnamespace('property_v2_kept')
        )
    )
GROUP BY a.application_name, in_the_way, user_name, open_for
ORDER BY in_the_way;
