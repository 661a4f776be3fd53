-- What Property V2 expects to find: the role, its database, the extension vector, and users as
-- the earlier migrations of the application leave it. Rerunnable, through psql as a superuser:
--   psql -X -v ON_ERROR_STOP=1 -v database=bestays -f bootstrap.sql postgres

\set QUIET on
SET client_min_messages = warning;

SELECT 'CREATE ROLE bestays LOGIN'
WHERE
    NOT EXISTS (
        SELECT FROM pg_roles
        WHERE rolname = 'bestays'
    )
\gexec

SELECT format('CREATE DATABASE %I OWNER bestays', :'database')
WHERE
    NOT EXISTS (
        SELECT FROM pg_database
        WHERE datname = :'database'
    )
\gexec

-- A development database may lose its rows in a rollback; no other does by itself.
SELECT format('ALTER DATABASE %I SET property_v2.allow_data_loss = on', :'database')
\gexec

\connect :"database"
SET client_min_messages = warning;

CREATE EXTENSION IF NOT EXISTS vector;

SET ROLE bestays;

CREATE TABLE IF NOT EXISTS users (
    id         serial       PRIMARY KEY,
    email      varchar(255) NOT NULL UNIQUE,
    full_name  varchar(255),
    created_at timestamptz  NOT NULL DEFAULT current_timestamp
);
