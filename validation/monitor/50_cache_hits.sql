-- Cache hits: how many of the blocks read were found in shared_buffers
SELECT
    relname AS table_name,
    heap_blks_hit + heap_blks_read AS row_blocks,
    round(
        100.0 * heap_blks_hit / nullif(heap_blks_hit + heap_blks_read, 0), 1
    )::float AS row_hit_percent,
    coalesce(idx_blks_hit + idx_blks_read, 0) AS index_blocks,
    round(
        100.0 * idx_blks_hit / nullif(idx_blks_hit + idx_blks_read, 0), 1
    )::float AS index_hit_percent,
    coalesce(toast_blks_hit + toast_blks_read, 0) AS toast_blocks,
    round(
        100.0 * toast_blks_hit / nullif(toast_blks_hit + toast_blks_read, 0), 1
    )::float AS toast_hit_percent
FROM pg_statio_user_tables
WHERE
    schemaname = 'public'
    AND relname = any(string_to_array(current_setting('property_v2.tables'), ','))
ORDER BY relname;
