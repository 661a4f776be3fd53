-- Waiting locks: who waits for whom
WITH waits AS (
    SELECT
        l.waitstart,
        w.usename AS waiting_user,
        h.usename AS blocking_user,
        h.application_name AS blocking_application,
        h.state AS blocking_state,
        'pid ' || w.pid AS waiting,
        format('%s on %s', l.mode, coalesce(l.relation::regclass::text, l.locktype)) AS wants,
        left(regexp_replace(w.query, '\s+', ' ', 'g'), 80) AS waiting_statement,
        coalesce('pid ' || nullif(b.pid, 0), 'a prepared transaction') AS blocked_by,
        left(regexp_replace(h.query, '\s+', ' ', 'g'), 80) AS blocking_statement
    FROM pg_locks AS l
    INNER JOIN pg_stat_activity AS w ON l.pid = w.pid
    CROSS JOIN unnest(pg_blocking_pids(l.pid)) AS b (pid)
    LEFT JOIN pg_stat_activity AS h ON b.pid = h.pid
    WHERE NOT l.granted AND w.datname = current_database()
)

SELECT
    waiting,
    waiting_user,
    wants,
    waiting_statement,
    blocked_by,
    blocking_user,
    blocking_application,
    blocking_state,
    blocking_statement,
    extract(EPOCH FROM clock_timestamp() - waitstart)::bigint AS waiting_seconds
FROM waits
ORDER BY waitstart, waiting;
