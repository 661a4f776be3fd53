-- Sessions that the migration would wait for, up to a minute, to get SHARE ROW EXCLUSIVE on users;
-- and a dump, for which a rollback would wait.
WITH in_the_way AS (
    SELECT
        a.application_name,
        coalesce(a.pid::text, quote_literal(p.gid)) AS name,
        coalesce(a.usename, p.owner, 'the server itself') AS user_name,
        clock_timestamp() - coalesce(a.xact_start, p.prepared) AS age,
        CASE
            WHEN p.gid IS NOT NULL THEN 'prepared transaction'
            WHEN a.application_name LIKE 'pg\_dump%' THEN 'dump'
            WHEN bool_or(l.mode = 'ShareUpdateExclusiveLock') THEN 'vacuum'
            ELSE 'transaction'
        END AS kind,
        bool_or(age(c.relfrozenxid) > least(
            current_setting('autovacuum_freeze_max_age')::integer,
            (
                SELECT o.option_value::integer
                FROM pg_options_to_table(c.reloptions) AS o
                WHERE o.option_name = 'autovacuum_freeze_max_age'
            )
        )) AS is_stubborn
    FROM pg_locks AS l
    INNER JOIN pg_class AS c ON l.relation = c.oid
    INNER JOIN pg_database AS d ON l.database = d.oid
    LEFT JOIN pg_stat_activity AS a ON l.pid = a.pid
    LEFT JOIN pg_locks AS x -- the own number of a prepared transaction
        ON l.pid IS NULL AND x.pid IS NULL AND l.virtualtransaction = x.virtualtransaction
    LEFT JOIN pg_prepared_xacts AS p ON x.transactionid = p.transaction
    WHERE
        d.datname = current_database()
        AND to_regclass('public.users') IN (l.relation, pg_partition_root(l.relation))
        AND l.granted
        AND coalesce(a.pid::text, p.gid) IS NOT NULL
        AND l.pid IS DISTINCT FROM pg_backend_pid()
        AND (
            l.mode NOT IN ('AccessShareLock', 'RowShareLock')
            OR a.application_name LIKE 'pg\_dump%'
        )
    GROUP BY a.pid, a.usename, a.application_name, a.xact_start, p.gid, p.owner, p.prepared
)

SELECT
    'sessions on users' AS check_name,
    'warn' AS status,
    format(
        '%s %s of %s%s, %s',
        kind, name, user_name, ' (' || nullif(application_name, '') || ')',
        coalesce(
            'open for ' || date_trunc('second', age), 'age not visible without pg_read_all_stats'
        )
    ) AS found,
    CASE
        WHEN kind = 'dump' THEN 'It does not stop the migration; a rollback would wait for it.'
        WHEN kind = 'prepared transaction'
            THEN format('COMMIT PREPARED %s or ROLLBACK PREPARED %s first.', name, name)
        WHEN is_stubborn THEN 'It does not give way: wait until this vacuum is done.'
        WHEN kind = 'vacuum'
            THEN format(
                'An autovacuum gives way after deadlock_timeout, %s, and writers of users wait so '
                'long, too; wait for a VACUUM run by hand.', current_setting('deadlock_timeout')
            )
        ELSE format('Wait until it ends, or SELECT pg_terminate_backend(%s);', name)
    END AS what_to_do
FROM in_the_way
UNION ALL
SELECT
    'sessions on users',
    'pass',
    'none that the migration would wait for',
    NULL
WHERE NOT EXISTS (SELECT FROM in_the_way);
