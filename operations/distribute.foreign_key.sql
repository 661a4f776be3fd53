-- One foreign key of properties to users, of the column that distribute.sql names.

\echo 'properties: the foreign key of' :column
\set ON_ERROR_STOP off
BEGIN;
-- Without it a worker would wait past the limit.
SELECT 'SET LOCAL citus.propagate_set_commands = local'
\gexec
SET LOCAL lock_timeout = '120ms';
SELECT
    format(
        'ALTER TABLE properties ADD CONSTRAINT properties_%1$s_fkey '
        'FOREIGN KEY (%1$s) REFERENCES users (id) ON DELETE SET NULL NOT VALID', :'column'
    )
\gexec
COMMIT;
\set ON_ERROR_STOP on
SELECT pg_temp.go_on_after(:'LAST_ERROR_SQLSTATE');
