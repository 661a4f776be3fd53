-- What a long command is at, seen from another session: rows copied, the index that is built, or
-- what the session says of itself. make shows it on a terminal; by hand:
--   psql -X -f operations/progress.sql

DO $$ BEGIN PERFORM pg_stat_clear_snapshot(); END $$; -- in a transaction it would stand still

SELECT format('%s, %s rows', relid::regclass, to_char(tuples_processed, 'FM999,999,999,990')) AS now
FROM pg_stat_progress_copy
WHERE datname = current_database()
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
