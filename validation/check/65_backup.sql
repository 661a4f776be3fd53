-- May this role dump the whole database, as make migrate does before it applies? pg_dump reads
-- every row and large object, or fails.
WITH unreadable (name, kind) AS (
    SELECT
        c.oid::regclass::text,
        CASE WHEN row_security_active(c.oid) THEN 2 ELSE 1 END
    FROM pg_class AS c
    INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
    WHERE
        c.relkind IN ('r', 'p', 'S')
        AND n.nspname !~ '^(pg_|information_schema$)'
        AND (
            NOT has_schema_privilege(n.oid, 'USAGE')
            OR CASE c.relkind
                WHEN 'S' THEN NOT has_sequence_privilege(c.oid, 'SELECT')
                ELSE NOT has_table_privilege(c.oid, 'SELECT') OR row_security_active(c.oid)
            END
        )
        -- Of an extension, pg_dump has what the extension itself says that it should.
        AND NOT EXISTS (
            SELECT FROM pg_depend AS d
            INNER JOIN pg_extension AS e ON d.refobjid = e.oid
            WHERE
                d.classid = 'pg_class'::regclass
                AND d.objid = c.oid
                AND d.refclassid = 'pg_extension'::regclass
                AND array_position(e.extconfig, c.oid) IS NULL
        )
    UNION ALL
    SELECT
        'large object ' || l.oid,
        3
    FROM pg_largeobject_metadata AS l
    WHERE
        NOT pg_has_role(l.lomowner, 'USAGE')
        AND NOT EXISTS (
            SELECT FROM aclexplode(l.lomacl) AS a
            WHERE
                a.privilege_type = 'SELECT'
                AND (a.grantee = 0 OR pg_has_role(nullif(a.grantee, 0), 'USAGE'))
        )
)

SELECT
    'may back up' AS check_name,
    CASE count(*) WHEN 0 THEN 'pass' ELSE 'warn' END AS status,
    CASE count(*)
        WHEN 0 THEN format('%s may read all that a backup reads', current_user)
        ELSE
            format(
                'the backup of make migrate fails: %s may not read all of %s%s',
                current_user, (array_agg(name ORDER BY name))[1],
                ' and ' || nullif(count(*) - 1, 0) || ' more'
            )
    END AS found,
    CASE max(kind)
        WHEN 1 THEN format('As a superuser: GRANT pg_read_all_data TO %I;', current_user)
        WHEN 2
            THEN
                'Back up as a role that sees every row, then: make migrate BACKUP=no. As a '
                'superuser: CREATE ROLE backup LOGIN BYPASSRLS IN ROLE pg_read_all_data;'
        WHEN 3 THEN 'Back up as a superuser, then: make migrate BACKUP=no'
    END AS what_to_do
FROM unreadable;
