-- What make renew has noted (note.sql), as rows of VALUES in lines of at most 100 columns: first
-- those of validate/10_objects.sql, then those of operations/indexes.before.sql.

-- A literal; a long one in pieces on lines of their own, which SQL takes for one.
CREATE FUNCTION pg_temp.literal(value text) RETURNS text LANGUAGE sql AS $body$
SELECT
    CASE
        WHEN value IS NULL THEN 'NULL'
        WHEN value ~ '''' AND length(value) <= 84 AND value || '$' !~ '\$\$|\n'
            THEN format('$$%s$$', value)
        ELSE CASE WHEN value ~ '\n' THEN 'E' ELSE '' END || coalesce((
            SELECT string_agg(format('''%s''', piece[1]), E'\n' ORDER BY n)
            FROM regexp_matches(
                CASE
                    WHEN value ~ '\n' THEN replace(replace(quoted, '\', '\\'), E'\n', '\n')
                    ELSE quoted
                END,
                '.{1,84}(?:(?<=\s)(?=\S)|(?<=\S)(?=\s)|$)|\S+', 'g'
            ) WITH ORDINALITY AS p (piece, n)
        ), '''''')
    END
FROM replace(value, '''', '''''') AS quoted
$body$;

-- A row, in one line where it fits.
CREATE FUNCTION pg_temp.row_of_values(VARIADIC items text[]) RETURNS text
LANGUAGE sql AS $body$
SELECT
    CASE
        WHEN length(line) <= 94 AND line !~ '\n' THEN '    ' || line
        ELSE format(E'    (\n        %s\n    )', replace(
            concat_ws(
                E',\n',
                CASE
                    WHEN length(start || name) > 88 THEN concat_ws(E',\n', start, name)
                    ELSE concat_ws(', ', start, name)
                END,
                definition
            ),
            E'\n', E'\n        '
        ))
    END
FROM (
    SELECT
        format('(%s)', string_agg(l, ', ' ORDER BY n)) AS line,
        string_agg(l, ', ' ORDER BY n) FILTER (WHERE n < cardinality(items) - 1) AS start,
        max(l) FILTER (WHERE n = cardinality(items) - 1) AS name,
        max(l) FILTER (WHERE n = cardinality(items)) AS definition
    FROM unnest(items) WITH ORDINALITY AS c (item, n)
    CROSS JOIN pg_temp.literal(item) AS l
) AS literals
$body$;

SELECT
    string_agg(
        pg_temp.row_of_values(migration, removed_by, kind, name, definition), E',\n'
        ORDER BY migration, array_position(
            ARRAY[
                'table', 'column', 'constraint', 'index', 'trigger', 'function', 'sequence',
                'comment'
            ], kind
        ) NULLS FIRST, name COLLATE "C"
    ) AS expected_rows,
    string_agg(
        pg_temp.row_of_values(name, definition), E',\n'
        ORDER BY migration, name COLLATE "C"
    ) FILTER (
        WHERE
        kind = 'index' AND removed_by IS NULL AND definition ~ '^CREATE INDEX'
        AND substring(definition FROM ' ON (\w+) ') IN (
            SELECT t.name
            FROM made AS t
            WHERE t.kind = 'table' AND t.migration IS NOT NULL
        )
    ) AS index_rows
FROM made
WHERE migration IS NOT NULL;
