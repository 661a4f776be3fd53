-- Roles that may use users, and not the new tables: these belong to the role of the migration, and
-- are open to others by ALTER DEFAULT PRIVILEGES or GRANT alone. Before the migration it is judged
-- by what will be granted, after it by what was.
WITH properties AS (
    SELECT
        c.relacl,
        c.oid IS NOT NULL AS is_there,
        coalesce(c.relowner, current_user::regrole::oid) AS relowner
    FROM (VALUES (to_regclass('public.properties'))) AS p (oid)
    LEFT JOIN pg_class AS c ON p.oid = c.oid
),

granted AS (
    SELECT
        a.grantee,
        a.privilege_type
    FROM properties AS p
    CROSS JOIN LATERAL aclexplode(coalesce(p.relacl, acldefault('r', p.relowner))) AS a
    WHERE p.is_there
    UNION ALL
    SELECT
        a.grantee,
        a.privilege_type
    FROM properties AS p
    INNER JOIN pg_default_acl AS d ON p.relowner = d.defaclrole
    CROSS JOIN LATERAL aclexplode(d.defaclacl) AS a
    WHERE
        NOT p.is_there
        AND d.defaclobjtype = 'r'
        AND d.defaclnamespace IN (0, 'public'::regnamespace)
),

left_out AS (
    SELECT
        p.is_there,
        p.relowner::regrole AS owner_name,
        CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS role_name,
        string_agg(DISTINCT a.privilege_type, ', ') AS rights
    FROM properties AS p
    INNER JOIN pg_class AS u ON u.oid = to_regclass('public.users')
    CROSS JOIN LATERAL aclexplode(coalesce(u.relacl, acldefault('r', u.relowner))) AS a
    LEFT JOIN pg_roles AS r ON a.grantee = r.oid
    WHERE
        a.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
        AND r.rolsuper IS NOT TRUE
        AND NOT pg_has_role(a.grantee, p.relowner, 'USAGE')
        AND NOT pg_has_role(
            a.grantee,
            CASE a.privilege_type
                WHEN 'SELECT' THEN 'pg_read_all_data'
                ELSE 'pg_write_all_data'
            END,
            'USAGE'
        )
        AND NOT EXISTS (
            SELECT FROM granted AS g
            WHERE
                a.privilege_type = g.privilege_type
                AND (g.grantee IN (0, a.grantee) OR pg_has_role(a.grantee, g.grantee, 'USAGE'))
        )
    GROUP BY a.grantee, p.relowner, p.is_there
),

new_tables AS (
    SELECT
        string_agg(t.table_name, ', ') AS table_names,
        string_agg(pg_get_serial_sequence('public.' || t.table_name, 'id'), ', ') AS sequence_names
    FROM string_to_table(current_setting('property_v2.tables', TRUE), ',') AS t (table_name)
    WHERE to_regclass('public.' || t.table_name) IS NOT NULL
)

SELECT
    'other roles' AS check_name,
    'warn' AS status,
    format(
        '%s has %s on users, and not on the tables of %s', l.role_name, l.rights, l.owner_name
    ) AS found,
    format(
        CASE
            WHEN l.is_there THEN 'GRANT %s ON %s TO %s;'
            ELSE
                'ALTER DEFAULT PRIVILEGES FOR ROLE %4$s IN SCHEMA public GRANT %1$s ON TABLES '
                'TO %3$s;'
        END, l.rights, n.table_names, l.role_name, l.owner_name
    )
    || CASE
        WHEN l.rights LIKE '%INSERT%'
            THEN format(
                CASE
                    WHEN l.is_there THEN ' GRANT USAGE ON SEQUENCE %s TO %s;'
                    ELSE
                        ' ALTER DEFAULT PRIVILEGES FOR ROLE %3$s IN SCHEMA public GRANT USAGE '
                        'ON SEQUENCES TO %2$s;'
                END, n.sequence_names, l.role_name, l.owner_name
            )
        ELSE ''
    END AS what_to_do
FROM left_out AS l
CROSS JOIN new_tables AS n
UNION ALL
SELECT
    'other roles',
    'pass',
    'whoever may use users may use the new tables',
    NULL
FROM properties
WHERE NOT is_there AND NOT EXISTS (SELECT FROM left_out);
