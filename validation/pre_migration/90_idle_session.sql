-- yoyo keeps a second connection idle while the migration runs, at worst for a minute. If the
-- server ends it, the schema is committed and yoyo does not know.
SELECT
    'idle_session_timeout' AS check_name,
    CASE WHEN setting::integer BETWEEN 1 AND 119999 THEN 'warn' ELSE 'pass' END AS status,
    CASE WHEN setting = '0' THEN 'off' ELSE current_setting(name) END AS found,
    CASE
        WHEN setting::integer BETWEEN 1 AND 119999
            THEN 'Switch it off for this run: PGOPTIONS=''-c idle_session_timeout=0'' yoyo apply'
    END AS what_to_do
FROM pg_settings
WHERE name = 'idle_session_timeout';
