-- Slow statements of this database: the ten that took most time in all, by pg_stat_statements
DO $do$
DECLARE
    view_name regclass := (
        SELECT oid FROM pg_class WHERE relname = 'pg_stat_statements' AND relkind = 'v' LIMIT 1
    );
    statements jsonb;
BEGIN
    IF view_name IS NULL THEN
        RAISE EXCEPTION 'pg_stat_statements is not in this database%', CASE
            WHEN EXISTS (
                SELECT FROM pg_available_extensions WHERE name = 'pg_stat_statements'
            ) THEN ''
            ELSE ', and the server lacks the package with PostgreSQL''s contrib modules'
        END
            USING ERRCODE = 'undefined_table',
                HINT = 'Add it to shared_preload_libraries, restart the server, and here: '
                    'CREATE EXTENSION pg_stat_statements;';
    END IF;
    EXECUTE format(
        'SELECT jsonb_agg(to_jsonb(top)) FROM ('
        'SELECT calls, rows AS rows_in_all, round(total_exec_time)::bigint AS total_ms,'
        ' round(mean_exec_time::numeric, 1) AS mean_ms,'
        ' left(regexp_replace(query, %L, %L, %L), 200) AS statement'
        ' FROM %s'
        ' WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())'
        ' ORDER BY total_exec_time DESC LIMIT 10) AS top',
        '\s+', ' ', 'g', view_name
    ) INTO statements;
    PERFORM set_config('property_v2.statements', coalesce(statements, '[]')::text, false);
END;
$do$;

SELECT
    s.calls,
    s.rows_in_all,
    s.total_ms,
    s.mean_ms,
    s.statement
FROM jsonb_to_recordset(current_setting('property_v2.statements')::jsonb) AS s (
    calls bigint, rows_in_all bigint, total_ms bigint, mean_ms float, statement text
);
