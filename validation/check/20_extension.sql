-- The extension vector (pgvector's name in the catalog), which the embeddings need.
SELECT
    'extension vector' AS check_name,
    CASE WHEN installed_version IS NOT NULL THEN 'pass' ELSE 'fail' END AS status,
    CASE
        WHEN installed_version IS NOT NULL THEN 'version ' || installed_version
        ELSE 'available, but not created in this database'
    END AS found,
    CASE
        WHEN installed_version IS NULL THEN 'As a superuser: CREATE EXTENSION vector;'
    END AS what_to_do
FROM pg_available_extensions
WHERE name = 'vector'
UNION ALL
SELECT
    'extension vector',
    'fail',
    'not available on this server',
    'Install pgvector on the server, then CREATE EXTENSION vector;'
WHERE
    NOT EXISTS (
        SELECT FROM pg_available_extensions
        WHERE name = 'vector'
    );
