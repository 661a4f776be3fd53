-- The table users: there, with a unique integer id, and this role may refer to it.
WITH users AS (
    SELECT
        c.relowner::regrole AS table_owner,
        format_type(a.atttypid, a.atttypmod) AS id_type,
        has_column_privilege(c.oid, 'id', 'REFERENCES') AS may_refer,
        (
            SELECT count(*) > 0
            FROM pg_index AS i
            WHERE
                i.indrelid = c.oid
                AND i.indisunique
                AND i.indimmediate
                AND i.indisvalid
                AND i.indpred IS NULL
                AND i.indnkeyatts = 1
                AND i.indkey[0] = a.attnum
        ) AS id_is_unique
    FROM pg_class AS c
    INNER JOIN pg_attribute AS a ON c.oid = a.attrelid AND a.attname = 'id'
    WHERE c.oid = to_regclass('public.users') AND c.relkind IN ('r', 'p')
)

SELECT
    'table users' AS check_name,
    CASE WHEN id_type = 'integer' AND id_is_unique THEN 'pass' ELSE 'fail' END AS status,
    CASE
        WHEN id_type <> 'integer' THEN 'id is ' || id_type
        WHEN NOT id_is_unique THEN 'id is not unique'
        ELSE 'id is a unique integer'
    END AS found,
    CASE
        WHEN id_type <> 'integer'
            THEN 'Property V2 refers to an integer key: see whether this is the right database.'
        WHEN NOT id_is_unique
            THEN 'Give it its primary key back: ALTER TABLE users ADD PRIMARY KEY (id);'
    END AS what_to_do
FROM users
UNION ALL
SELECT
    'may refer to users',
    CASE WHEN may_refer THEN 'pass' ELSE 'fail' END,
    format(
        '%s %s REFERENCES on users', current_user, CASE WHEN may_refer THEN 'has' ELSE 'lacks' END
    ),
    CASE
        WHEN NOT may_refer
            THEN format('As %s: GRANT REFERENCES ON users TO %I;', table_owner, current_user)
    END
FROM users
UNION ALL
SELECT
    'table users',
    'fail',
    'there is no table users with a column id in public',
    'Run the earlier migrations of the application first.'
WHERE NOT EXISTS (SELECT FROM users);
