-- The extension vector (pgvector's name in the catalog), which the embeddings need; and that this
-- role gets its type by the name alone, as the migration has it.
WITH found AS (
    SELECT
        a.installed_version,
        n.nspname,
        a.name IS NULL AS is_unavailable,
        a.installed_version IS NULL AS is_missing,
        NOT has_schema_privilege(n.oid, 'USAGE') AS lacks_schema,
        NOT has_type_privilege(t.oid, 'USAGE') AS lacks_type,
        to_regtype('vector') IS NULL AS is_off_path,
        to_regtype('vector') <> t.oid AS is_hidden
    FROM (VALUES ('vector')) AS wanted (name)
    LEFT JOIN pg_available_extensions AS a ON wanted.name = a.name
    LEFT JOIN pg_extension AS e ON wanted.name = e.extname
    LEFT JOIN pg_namespace AS n ON e.extnamespace = n.oid
    LEFT JOIN pg_type AS t ON n.oid = t.typnamespace AND t.typname = 'vector'
)

SELECT
    'extension vector' AS check_name,
    CASE
        WHEN is_missing OR is_off_path OR is_hidden OR lacks_type THEN 'fail' ELSE 'pass'
    END AS status,
    CASE
        WHEN is_unavailable THEN 'not available on this server'
        WHEN is_missing THEN 'available, but not created in this database'
        WHEN lacks_schema THEN format('%s lacks USAGE on its schema %s', current_user, nspname)
        WHEN is_off_path
            THEN format('its schema %s is not on the search_path of %s', nspname, session_user)
        WHEN is_hidden THEN format('%s comes before %I.vector', to_regtype('vector'), nspname)
        WHEN lacks_type THEN format('%s lacks USAGE on the type vector', current_user)
        ELSE 'version ' || installed_version
    END AS found,
    CASE
        WHEN is_unavailable
            THEN 'Install pgvector on the server first, then look again.'
        WHEN is_missing THEN 'As a superuser: CREATE EXTENSION vector;'
        WHEN lacks_schema
            THEN format('As its owner: GRANT USAGE ON SCHEMA %I TO %I;', nspname, current_user)
        WHEN is_off_path
            THEN format(
                'ALTER ROLE %I IN DATABASE %I SET search_path = %s, %I;',
                session_user, current_database(), current_setting('search_path'), nspname
            )
        WHEN is_hidden THEN 'Rename the other type of that name, or its table.'
        WHEN lacks_type
            THEN format(
                'As its owner: GRANT USAGE ON TYPE %I.vector TO %I;', nspname, current_user
            )
    END AS what_to_do
FROM found;
