-- Invalid indexes: no query reads them, every write may pay for them
SELECT
    i.indrelid::regclass::text AS table_name,
    i.indexrelid::regclass::text AS index_name,
    pg_relation_size(i.indexrelid) AS size_bytes,
    CASE
        WHEN p.pid IS NOT NULL THEN format('wait: pid %s is building it', p.pid)
        WHEN
            i.indexrelid::regclass::text LIKE 'idx\_%'
            AND i.indrelid::regclass::text = any(
                string_to_array(current_setting('property_v2.tables'), ',')
            )
            THEN 'psql -X -f operations/create_indexes.sql'
        ELSE format('DROP INDEX CONCURRENTLY %s;', i.indexrelid::regclass)
    END AS what_to_do
FROM pg_index AS i
LEFT JOIN pg_stat_progress_create_index AS p ON i.indexrelid = p.index_relid
WHERE NOT i.indisvalid
ORDER BY index_name;
