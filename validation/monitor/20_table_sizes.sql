-- Table sizes
WITH tables AS (
    SELECT
        t.table_name,
        c.oid,
        nullif(c.reltoastrelid, 0) AS toast_oid,
        greatest(c.reltuples, 0)::bigint AS estimated_rows
    FROM unnest(string_to_array(current_setting('property_v2.tables'), ',')) AS t (table_name)
    LEFT JOIN pg_class AS c ON to_regclass('public.' || t.table_name) = c.oid
)

SELECT
    table_name,
    CASE WHEN oid IS NULL THEN 'missing' ELSE 'there' END AS found,
    CASE WHEN oid IS NOT NULL THEN estimated_rows END AS estimated_rows,
    pg_table_size(oid) - coalesce(pg_total_relation_size(toast_oid), 0) AS rows_bytes,
    pg_total_relation_size(toast_oid) AS toast_bytes,
    pg_indexes_size(oid) AS indexes_bytes,
    pg_total_relation_size(oid) AS total_bytes
FROM tables
ORDER BY total_bytes DESC NULLS LAST, table_name ASC;
