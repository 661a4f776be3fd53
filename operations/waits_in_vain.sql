-- Whether a dump that began after this session has waited ten seconds for one lock.

DO $$ BEGIN PERFORM pg_stat_clear_snapshot(); END $$; -- in a transaction it would stand still

SELECT d.pid
FROM pg_stat_activity AS us
INNER JOIN pg_stat_activity AS d
    ON us.datname = d.datname AND us.backend_start < d.backend_start
INNER JOIN pg_locks AS l ON d.pid = l.pid
WHERE
    us.pid = pg_backend_pid() AND d.application_name = 'pg_dump'
    AND l.waitstart < clock_timestamp() - interval '10 seconds';
