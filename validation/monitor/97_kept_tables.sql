-- Tables that a rollback kept: state says what ends it; rows are estimated
SELECT
    c.relname AS table_name,
    greatest(c.reltuples, 0)::bigint AS estimated_rows,
    pg_total_relation_size(c.oid) AS total_bytes,
    (
        SELECT count(*)
        FROM pg_publication_tables AS p
        WHERE p.schemaname = 'property_v2_kept' AND p.tablename = c.relname
    ) AS publications
FROM pg_class AS c
WHERE
    c.relnamespace = to_regnamespace('property_v2_kept')
    AND c.relkind IN ('r', 'p')
    AND c.relname <> 'kept'
ORDER BY c.relname;
