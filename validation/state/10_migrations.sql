-- Where each migration stands, by the catalog, yoyo's marks and the sessions at work.
-- `python -m validation state` gives in property_v2.given, as JSON: `yoyo`, how it is called, with
-- %s for its command; `migrations`, each with its id, whether a file of it is here, whether yoyo
-- has marked it, and what holds the names that it takes (by validation/objects).
WITH given AS (
    SELECT current_setting('property_v2.given')::jsonb AS facts
),

migrations AS (
    SELECT
        m.*,
        g.facts ->> 'yoyo' AS yoyo
    FROM given AS g
    CROSS JOIN jsonb_to_recordset(g.facts -> 'migrations')
        AS m (turn integer, id text, is_here boolean, is_marked boolean, objects jsonb)
),

found AS (
    SELECT
        m.*,
        s.pid,
        s.who,
        array(
            SELECT format('%s %s of %s', o.o ->> 2, o.o ->> 1, o.o ->> 3)
            FROM jsonb_array_elements(m.objects) AS o (o)
            WHERE o.o ->> 2 IS NOT NULL
        ) AS there,
        array(
            SELECT format('%s %s', o.o ->> 0, o.o ->> 1)
            FROM jsonb_array_elements(m.objects) AS o (o)
            WHERE o.o ->> 2 IS NULL OR o.o ->> 2 <> o.o ->> 0
        ) AS missing
    FROM migrations AS m
    -- The migration's files set application_name for as long as they run
    LEFT JOIN LATERAL (
        SELECT
            a.pid,
            format(
                'pid %s of %s (%s), for %s', a.pid, a.usename, a.application_name,
                coalesce(date_trunc('second', clock_timestamp() - a.xact_start)::text, '?')
            ) AS who
        FROM pg_stat_activity AS a
        WHERE
            a.datname = current_database()
            AND a.application_name IN (m.id, m.id || '.rollback')
        ORDER BY a.pid
        LIMIT 1
    ) AS s ON TRUE
),

judged AS (
    SELECT
        f.*,
        CASE
            WHEN NOT f.is_here THEN 'marked but unknown here'
            WHEN f.pid IS NOT NULL THEN 'running now'
            WHEN f.is_marked AND f.missing <> '{}' THEN 'marked but objects missing'
            WHEN f.is_marked THEN 'applied'
            WHEN f.there = '{}' THEN 'not applied'
            WHEN f.missing = '{}' THEN 'committed but not marked'
            ELSE 'partly there'
        END AS verdict,
        array_to_string(f.there[:3], ', ')
        || coalesce(' and ' || nullif(cardinality(f.there[4:]), 0) || ' more', '') AS some_there,
        array_to_string(f.missing[:3], ', ')
        || coalesce(' and ' || nullif(cardinality(f.missing[4:]), 0) || ' more', '') AS some_missing
    FROM found AS f
)

SELECT
    j.id AS subject,
    v.status,
    v.verdict,
    v.what_to_do,
    concat_ws(': ', v.verdict, v.details) AS found
FROM judged AS j
INNER JOIN LATERAL (
    VALUES
    ('applied', 'pass', NULL, NULL),
    ('not applied', 'warn', NULL, format(j.yoyo, 'apply')),
    (
        'running now', 'fail', j.who,
        format('Wait for it; to stop it: SELECT pg_terminate_backend(%s);', j.pid)
    ),
    (
        'committed but not marked', 'fail', 'an apply was interrupted after its commit',
        'Prove it: python -m validation post-migration; when that passes: '
        || format(j.yoyo, 'mark -m ' || j.id)
    ),
    (
        'marked but objects missing', 'fail', j.some_missing,
        CASE
            WHEN j.there = '{}'
                THEN
                    'An interrupted rollback leaves this; otherwise ask who dropped them. Then: '
                    || format(j.yoyo, 'unmark -m ' || j.id)
            ELSE
                'See python -m validation post-migration; mend what it lists, or roll back and '
                'apply.'
        END
    ),
    (
        'partly there', 'fail',
        format(
            '%s of its %s objects (%s), and no mark',
            cardinality(j.there), jsonb_array_length(j.objects), j.some_there
        ),
        'No run of yoyo leaves this: rename what is in the way, or restore a backup.'
    ),
    (
        'marked but unknown here', 'fail', 'there is no such file',
        'Update this checkout: the database is ahead of it.'
    )
) AS v (verdict, status, details, what_to_do) ON j.verdict = v.verdict
ORDER BY j.turn;
