-- Dead rows, and when vacuum last cleared them away
SELECT
    s.relname AS table_name,
    s.n_live_tup AS live_rows,
    s.n_dead_tup AS dead_rows,
    s.n_mod_since_analyze AS changed_since_analyze,
    round(
        100.0 * s.n_dead_tup / nullif(s.n_live_tup + s.n_dead_tup, 0), 1
    )::float AS dead_percent,
    date_trunc('second', s.last_autovacuum)::text AS last_autovacuum,
    date_trunc('second', s.last_vacuum)::text AS last_vacuum_by_hand,
    date_trunc('second', greatest(s.last_analyze, s.last_autoanalyze))::text AS last_analyze,
    age(c.relfrozenxid) AS age_in_transactions
FROM pg_stat_user_tables AS s
INNER JOIN pg_class AS c ON s.relid = c.oid
WHERE
    s.schemaname = 'public'
    AND s.relname = any(string_to_array(current_setting('property_v2.tables'), ','))
ORDER BY s.n_dead_tup DESC, s.relname ASC;
