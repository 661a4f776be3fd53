-- What drop_indexes.sql and create_indexes.sql begin with: nobody else's limits, and one at a time.

SET search_path = public;
-- It waits for others, but others do not wait for it: a limit would only leave half of the work.
SET lock_timeout = 0;
SET statement_timeout = 0;

DO $$ -- alone, and on PostgreSQL 17 and later without a limit for transactions
BEGIN
    IF current_setting('transaction_timeout', true) IS NOT NULL THEN
        PERFORM set_config('transaction_timeout', '0', false);
    END IF;
    PERFORM set_config('lock_timeout', '3s', true); -- the session of a run just ended may linger
    PERFORM pg_advisory_lock(hashtext('property_v2 indexes'));
EXCEPTION WHEN lock_not_available THEN
    RAISE EXCEPTION 'another run of drop_indexes.sql or create_indexes.sql is at work'
        USING HINT = 'Wait for it, or end it: SELECT pid, pg_terminate_backend(pid) FROM '
            'pg_stat_activity WHERE application_name LIKE ''%\_indexes.sql'';';
END;
$$;
