-- What a long command is at, seen from another session: rows copied, the index that is built, or
-- what the session says of itself. make shows it on a terminal; by hand:
--   psql -X -f operations/progress.sql

DO $$ BEGIN PERFORM pg_stat_clear_snapshot(); END $$; -- in a transaction it would stand still

-- Of how many rows is known to the session that started it.
SELECT
    concat_ws(
        ' of ', concat_ws(', ', c.relname, to_char(p.tuples_processed, 'FM999,999,999,990')),
        to_char(r.expected, 'FM999,999,999,990')
    ) || concat(' rows', ', ' || to_char(100 * p.tuples_processed / r.expected, 'FM990%')) AS now
FROM pg_stat_progress_copy AS p
INNER JOIN pg_class AS c ON p.relid = c.oid
LEFT JOIN LATERAL (
    SELECT nullif((counts.of_tables ->> c.relname)::bigint, 0) AS expected
    FROM (
        SELECT nullif(current_setting('property_v2.row_counts', TRUE), '')::jsonb AS of_tables
    ) AS counts
) AS r ON TRUE
WHERE p.datname = current_database()
UNION ALL
SELECT
    concat_ws(
        ', ', index_relid::regclass, phase,
        to_char(100.0 * blocks_done / nullif(blocks_total, 0), 'FM990%'),
        'waits for session ' || nullif(current_locker_pid, 0)
    )
FROM pg_stat_progress_create_index
WHERE datname = current_database()
UNION ALL
SELECT application_name
FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE '[%]%';
