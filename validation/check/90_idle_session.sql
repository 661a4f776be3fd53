-- yoyo keeps a second connection idle while the migration runs, at worst for a minute. If the
-- server ends it, the schema is committed and yoyo does not know.
-- reset_val: what a session has that does not set it itself, as yoyo's does not.
SELECT
    'idle_session_timeout' AS check_name,
    CASE WHEN reset_val::integer BETWEEN 1 AND 119999 THEN 'warn' ELSE 'pass' END AS status,
    CASE WHEN reset_val = '0' THEN 'off' ELSE reset_val::integer / 1000 || ' s' END AS found,
    CASE
        WHEN reset_val::integer BETWEEN 1 AND 119999
            THEN 'Switch it off for this run: PGOPTIONS=''-c idle_session_timeout=0'' yoyo apply'
    END AS what_to_do
FROM pg_settings
WHERE name = 'idle_session_timeout';
