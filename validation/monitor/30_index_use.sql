-- Index sizes and use: each server, a standby too, counts its own scans only
SELECT
    s.relname AS table_name,
    s.indexrelname AS index_name,
    s.idx_scan AS scans,
    pg_relation_size(s.indexrelid) AS size_bytes,
    CASE
        WHEN s.idx_scan > 0 THEN 'used, last at ' || date_trunc('second', s.last_idx_scan)
        WHEN i.indisunique THEN 'unused, but keeps rows unique'
        ELSE 'unused since ' || coalesce(
            date_trunc('second', d.stats_reset)::text, 'the beginning, or the last crash'
        )
    END AS verdict
FROM pg_stat_user_indexes AS s
INNER JOIN pg_index AS i ON s.indexrelid = i.indexrelid
INNER JOIN pg_stat_database AS d ON d.datname = current_database()
WHERE
    s.schemaname = 'public'
    AND s.relname = any(string_to_array(current_setting('property_v2.tables'), ','))
ORDER BY s.idx_scan ASC, size_bytes DESC, s.indexrelname ASC;
