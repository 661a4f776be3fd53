-- How many rows the tables of a schema hold: null where this role may not see all of them. To count
-- ten million takes seconds: where there are more than property_v2.at_most, an estimate stands in.
-- By hand: psql -X -q -f validation/row_counts.sql; of some tables (at_most) by
--   PGOPTIONS='-c property_v2.schema=property_v2_kept -c property_v2.tables=amenities,properties'
DO $$
DECLARE
    place CONSTANT text := coalesce(
        nullif(current_setting('property_v2.schema', true), ''), 'public'
    );
    names CONSTANT text := nullif(current_setting('property_v2.tables', true), '');
    at_most CONSTANT bigint := nullif(current_setting('property_v2.at_most', true), '');
    one record;
    rows_seen bigint;
    counts jsonb := '[]';
BEGIN
    FOR one IN
        SELECT
            oid::regclass AS table_name,
            relname,
            reltuples::bigint AS estimate,
            has_schema_privilege(relnamespace, 'USAGE') AND has_table_privilege(oid, 'SELECT')
            AND NOT row_security_active(oid) AS is_seen
        FROM pg_class
        WHERE relnamespace = to_regnamespace(place) AND relkind IN ('r', 'p')
            AND (names IS NULL OR relname = ANY(string_to_array(names, ',')))
        ORDER BY relname
    LOOP
        rows_seen := NULL;
        IF one.is_seen THEN
            EXECUTE format(
                'SELECT count(*) FROM (SELECT FROM %s LIMIT %L) AS r', one.table_name, at_most + 1
            ) INTO rows_seen;
        END IF;
        counts := counts || jsonb_build_array(jsonb_build_array(
            one.relname,
            CASE
                WHEN rows_seen > at_most
                    THEN to_jsonb('about ' || to_char(
                        greatest(one.estimate, rows_seen), 'FM999,999,999,999,990'
                    ))
                ELSE to_jsonb(rows_seen)
            END
        ));
    END LOOP;
    PERFORM set_config('property_v2.counted', counts::text, false);
END;
$$;

SELECT
    one_table ->> 0 AS table_name,
    one_table -> 1 AS row_count
FROM jsonb_array_elements(current_setting('property_v2.counted')::jsonb) AS one_table
ORDER BY (one_table ->> 0) COLLATE "C";
