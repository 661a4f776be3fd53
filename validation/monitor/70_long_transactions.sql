-- Long transactions: the ten oldest. While one is open, no vacuum clears what died since its start
-- (those of other roles are seen by members of pg_monitor only)
SELECT
    name AS transaction_of,
    user_name,
    application_name,
    state_now,
    extract(EPOCH FROM clock_timestamp() - started)::bigint AS open_seconds,
    left(regexp_replace(query, '\s+', ' ', 'g'), 80) AS last_statement
FROM (
    SELECT
        'pid ' || pid AS name,
        usename AS user_name,
        application_name,
        state AS state_now,
        xact_start AS started,
        query
    FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
    UNION ALL
    SELECT
        quote_literal(gid),
        owner,
        NULL,
        'prepared',
        prepared,
        NULL
    FROM pg_prepared_xacts
    WHERE database = current_database()
) AS t
ORDER BY started
LIMIT 10;
