-- Takes out the 14 secondary indexes of Property V2 while the application runs: before a mass load,
-- or when they slow down writing. Tables, rows, primary keys and unique constraints stay.
--
-- Run         psql -X -f operations/drop_indexes.sql, as the owner of the tables; rerunnable.
--             One index alone: DROP INDEX CONCURRENTLY idx_properties_amenities;
-- Locks       SHARE UPDATE EXCLUSIVE on a table at a time: reads and writes go on. Each index waits
--             for the transactions that use its table; stopped meanwhile, it is left invalid, which
--             the next run of this file, or of create_indexes.sql, puts right.
-- Meanwhile   Every listing and every filter reads the whole table.
-- Way back    psql -X -f operations/create_indexes.sql
-- Not used by make rollback (the tables go whole) and make import-data (one transaction builds the
--             indexes after the rows: faster, and all or nothing).

\set ON_ERROR_STOP on
\set QUIET on
\ir indexes.before.sql
SET application_name = 'drop_indexes.sql';
\set ECHO queries
\set QUIET off

SELECT format('DROP INDEX CONCURRENTLY IF EXISTS %I', i.name)
FROM json_each_text(current_setting('property_v2.indexes')::json) AS i (name, definition)
\gexec
