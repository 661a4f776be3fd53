-- How a transaction of these files begins, whatever role and database set: a statement sees what is
-- committed when it begins, takes as long as it takes, passes no filter of row security (an error
-- instead), and a client that falls silent keeps no lock for long.
SET LOCAL transaction_isolation = 'read committed';
SET LOCAL transaction_read_only = off;
SET LOCAL statement_timeout = 0;
SET LOCAL row_security = off;
SET LOCAL idle_in_transaction_session_timeout = '10s';
SET LOCAL tcp_keepalives_idle = 5;
SET LOCAL tcp_keepalives_interval = 2;
SET LOCAL tcp_keepalives_count = 3;
SET LOCAL tcp_user_timeout = '11s';

DO $$
BEGIN
    IF current_setting('row_security') <> 'off' THEN -- SET LOCAL did nothing
        RAISE EXCEPTION 'this file must run in one transaction'
            USING ERRCODE = 'no_active_sql_transaction',
                HINT = 'Use make, or psql -X -1 -v ON_ERROR_STOP=1 -f FILE.';
    END IF;
    IF current_setting('transaction_timeout', true) IS NOT NULL THEN -- PostgreSQL 17 and later
        PERFORM set_config('transaction_timeout', '0', true);
    END IF;
    PERFORM set_config('client_connection_check_interval', '500ms', true);
EXCEPTION WHEN invalid_parameter_value THEN
    NULL; -- a server on Windows cannot see that its client is gone
END;
$$;
