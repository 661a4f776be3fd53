-- What a long command is at, seen from another session: rows copied, the index that is built, or
-- what the session says of itself. make shows it on a terminal; by hand, psql's \watch repeats it.

SELECT pg_stat_clear_snapshot(); -- inside a transaction it would stand still

SELECT format('%s, %s rows', relid::regclass, to_char(tuples_processed, 'FM999,999,999,990'))
FROM pg_stat_progress_copy
WHERE datname = current_database()
UNION ALL
SELECT format('%s, %s', index_relid::regclass, phase)
FROM pg_stat_progress_create_index
WHERE datname = current_database()
UNION ALL
SELECT application_name
FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE '[%]%'
LIMIT 1;
