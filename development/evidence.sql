-- The chapters of docs/locks.md of one way: $1 are its rehearsals, as JSON of migration, steps and
-- summary (validation/dry_run.py), $2 is what the page has now. A chapter that shows the same keeps
-- its times, and its order of the locks of one statement.
WITH steps AS (
    SELECT
        r.n,
        s.number,
        s.statement,
        s.ms,
        s.locks,
        s.number
        - row_number() OVER (PARTITION BY r.n, s.locks = '[]' ORDER BY s.number) AS together
    FROM jsonb_array_elements($1) WITH ORDINALITY AS r (rehearsal, n)
    CROSS JOIN
        jsonb_to_recordset(r.rehearsal -> 'steps')
            AS s (number integer, statement text, ms numeric, locks jsonb)
),

lines (n, number, nth, line) AS (
    SELECT -- one after the other without a lock: one line
        n,
        min(number),
        0,
        CASE
            WHEN min(number) = 0 -- not rehearsed
                THEN format('%s%s.', upper(left(min(statement), 1)), substr(min(statement), 2))
            ELSE format(
                '| %s | %s | %s | none | | |',
                concat_ws('–', min(number), nullif(max(number), min(number))),
                CASE count(*)
                    WHEN 1 THEN format('`%s`', replace(min(statement), '|', '\|'))
                    ELSE format('%s statements', count(*))
                END,
                sum(ms)
            )
        END
    FROM steps
    WHERE locks = '[]'
    GROUP BY n, together
    UNION ALL
    SELECT
        s.n,
        s.number,
        l.nth,
        format(
            '| %s | %s on `%s`%s | %s | %s |',
            CASE l.nth
                WHEN 1
                    THEN format(
                        '%s | `%s` | %s', s.number, replace(s.statement, '|', '\|'), s.ms
                    )
                ELSE '| |'
            END,
            l.lock ->> 'mode', l.lock ->> 'relation',
            CASE WHEN (l.lock -> 'rewritten')::boolean THEN ', rewritten' END,
            l.lock ->> 'held_ms', l.lock ->> 'blocks'
        )
    FROM steps AS s
    CROSS JOIN jsonb_array_elements(s.locks) WITH ORDINALITY AS l (lock, nth)
),

chapters AS (
    SELECT
        r.n,
        concat(
            '### ', r.rehearsal ->> 'migration', E'\n\n',
            CASE
                WHEN min(l.number) > 0
                    THEN
                        E'| # | Statement | ms | Lock on what was there before | Held, ms | '
                        'Blocks |\n| ---: | --- | ---: | --- | ---: | --- |\n'
            END,
            string_agg(l.line, E'\n' ORDER BY l.number, l.nth),
            CASE
                WHEN min(l.number) > 0
                    THEN E'\n\n' || regexp_replace(r.rehearsal ->> 'summary', '\n', ' ')
            END,
            E'\n\n'
        ) AS chapter
    FROM jsonb_array_elements($1) WITH ORDINALITY AS r (rehearsal, n)
    INNER JOIN lines AS l ON r.n = l.n
    GROUP BY r.n, r.rehearsal
    UNION ALL
    SELECT
        0, -- the present ones
        chapter
    FROM regexp_split_to_table($2, '^(?=### )', 'n') AS chapter
),

without_times AS (
    SELECT
        c.n,
        c.chapter,
        array_agg(shown ORDER BY shown) AS shown_lines
    FROM chapters AS c
    CROSS JOIN
        regexp_replace(
            c.chapter, '(?<=\| )\d+\.\d(?= \|)|(?<= ran in )\d+', '0', 'g'
        ) AS timeless
    CROSS JOIN regexp_split_to_table(timeless, '\n') AS shown
    GROUP BY c.n, c.chapter
)

SELECT string_agg(coalesce(present.chapter, w.chapter), '' ORDER BY w.n)
FROM without_times AS w
LEFT JOIN without_times AS present ON present.n = 0 AND w.shown_lines = present.shown_lines
WHERE w.n > 0;
