-- Whether yoyo's lock is held by somebody at work, or was left behind by a run that was killed.
-- `python -m validation state` gives in property_v2.given, as JSON: `yoyo`, how it is called, with
-- %s for its command; `locks`, the process and the time in the row of yoyo_lock, if there is one.
WITH given AS (
    SELECT current_setting('property_v2.given')::jsonb AS facts
),

at_work AS (
    SELECT format('session %s of %s', pid, usename) AS who
    FROM pg_stat_activity
    WHERE
        datname = current_database()
        AND pid <> pg_backend_pid()
        AND application_name NOT IN ('python -m validation', 'python -m operations')
        -- Its bookkeeping, or a migration
        AND (
            query LIKE '%yoyo%' OR application_name LIKE '%yoyo%' OR application_name LIKE '0%'
        )
    ORDER BY pid
    LIMIT 1
),

lock AS (
    SELECT
        a.who,
        g.facts #>> '{locks,0,pid}' AS pid,
        g.facts #>> '{locks,0,since}' AS since,
        g.facts ->> 'yoyo' AS yoyo
    FROM given AS g
    LEFT JOIN at_work AS a ON TRUE
)

SELECT
    v.status,
    v.verdict,
    v.found,
    v.what_to_do,
    'yoyo lock' AS subject
FROM lock AS l
INNER JOIN LATERAL (
    VALUES
    (l.pid IS NULL, 'pass', 'free', NULL, 'free'),
    (
        l.pid IS NOT NULL AND l.who IS NOT NULL, 'fail',
        format('held by process %s since %s UTC: %s', l.pid, l.since, l.who),
        'Wait for it.',
        'running now'
    ),
    (
        l.pid IS NOT NULL AND l.who IS NULL, 'fail',
        format('left behind by process %s at %s UTC: no session of yoyo is here', l.pid, l.since),
        format('Make sure that the process is gone (ps -p %s where it ran), then: ', l.pid)
        || format(l.yoyo, 'break-lock'),
        'left behind'
    )
) AS v (is_so, status, found, what_to_do, verdict) ON v.is_so;
