-- What a rollback needs, should it find rows: a schema to keep them in.
WITH able AS (
    SELECT CASE
        WHEN to_regnamespace('property_v2_kept') IS NULL
            THEN has_database_privilege(current_database(), 'CREATE')
        ELSE
            has_schema_privilege(to_regnamespace('property_v2_kept'), 'CREATE')
            AND has_schema_privilege(to_regnamespace('property_v2_kept'), 'USAGE')
    END AS is_able
)

SELECT
    'may keep rows' AS check_name,
    CASE WHEN is_able THEN 'pass' ELSE 'warn' END AS status,
    CASE
        WHEN is_able THEN 'a rollback keeps tables with rows in schema property_v2_kept'
        ELSE
            format('a rollback will refuse: %s can keep no rows in property_v2_kept', current_user)
    END AS found,
    CASE
        WHEN is_able THEN NULL
        WHEN to_regnamespace('property_v2_kept') IS NULL
            THEN format(
                'As a superuser: CREATE SCHEMA property_v2_kept AUTHORIZATION %I;', current_user
            )
        ELSE
            format(
                'As its owner: GRANT USAGE, CREATE ON SCHEMA property_v2_kept TO %I;', current_user
            )
    END AS what_to_do
FROM able;
