-- The table users: there, with a unique integer id, this role may refer to it, and what a foreign
-- key to it will not do here.
WITH users AS (
    SELECT
        c.oid,
        c.relkind,
        c.relpersistence,
        c.relowner::regrole AS table_owner,
        format_type(a.atttypid, a.atttypmod) AS id_type,
        has_column_privilege(c.oid, a.attnum, 'REFERENCES') AS may_refer,
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
    WHERE c.oid = to_regclass('public.users')
),

faults (found, what_to_do) AS (
    SELECT
        CASE
            WHEN relkind = 'v' THEN 'users is a view'
            WHEN relkind = 'm' THEN 'users is a materialized view'
            WHEN relkind = 'f' THEN 'users is a foreign table'
            WHEN id_type <> 'integer' THEN 'id is ' || id_type
            WHEN NOT id_is_unique THEN 'id is not unique'
            ELSE 'users is unlogged'
        END,
        CASE
            WHEN relkind NOT IN ('r', 'p')
                THEN
                    'A foreign key needs the table itself, in public: see whether this is the '
                    'right database.'
            WHEN id_type <> 'integer'
                THEN 'Property V2 refers to an integer key: see whether this is the right database.'
            WHEN NOT id_is_unique
                THEN 'Give it its primary key back: ALTER TABLE users ADD PRIMARY KEY (id);'
            ELSE
                'A logged table cannot refer to it. This rewrites it, and everybody waits: '
                'ALTER TABLE users SET LOGGED;'
        END
    FROM users
    WHERE
        relkind NOT IN ('r', 'p')
        OR id_type <> 'integer'
        OR NOT id_is_unique
        OR relpersistence <> 'p'
    UNION ALL
    SELECT
        'there is no table users with a column id in public',
        'Run the earlier migrations of the application first.'
    WHERE NOT EXISTS (SELECT FROM users)
)

SELECT
    'table users' AS check_name,
    'fail' AS status,
    found,
    what_to_do
FROM faults
UNION ALL
SELECT
    'table users',
    'pass',
    'id is a unique integer',
    NULL
WHERE NOT EXISTS (SELECT FROM faults)
UNION ALL
SELECT
    'table users',
    'warn',
    format('%s inherits from users', i.inhrelid::regclass),
    'A user whose row is there can be no author: a foreign key sees the rows of users alone.'
FROM pg_inherits AS i
INNER JOIN users ON i.inhparent = users.oid
WHERE users.relkind = 'r'
UNION ALL
SELECT
    'table users',
    'warn',
    format('trigger %s may keep a user from being deleted', t.tgname),
    'A user who is kept stays the author of his listings: see whether that is meant.'
FROM pg_trigger AS t
INNER JOIN users ON t.tgrelid = users.oid
WHERE t.tgtype & 11 = 11 AND NOT t.tgisinternal AND t.tgenabled <> 'D' -- BEFORE DELETE, by row
UNION ALL
SELECT
    'table users',
    'warn',
    format('rule %s stands in for the deletion of a user', r.rulename),
    'A user who is kept stays the author of his listings: see whether that is meant.'
FROM pg_rewrite AS r
INNER JOIN users ON r.ev_class = users.oid
WHERE r.ev_type = '4' AND r.is_instead AND r.ev_enabled <> 'D' AND users.relkind <> 'v'
UNION ALL
SELECT
    'table users',
    'warn',
    'its rows come by a subscription',
    'A user deleted there stays the author here: no foreign key acts on what is replicated.'
FROM pg_subscription_rel AS s
INNER JOIN users ON s.srrelid = users.oid
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
FROM users;
