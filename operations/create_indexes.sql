-- Brings back the 14 secondary indexes of Property V2 that are missing, while the application runs.
--
-- Run         psql -X -f operations/create_indexes.sql, as the owner of the tables; rerunnable.
--             More memory builds faster: PGOPTIONS='-c maintenance_work_mem=1GB'
-- Locks       SHARE UPDATE EXCLUSIVE on a table at a time: reads and writes go on. Each index reads
--             its table twice, and waits for the transactions that were open before, even for those
--             that only read: end a forgotten one. Stopped meanwhile (a lock_timeout would do it),
--             it is left invalid: no query reads it, every write pays for it. This file drops such
--             a leftover and builds it again.
-- Watch       psql -X -f operations/progress.sql, from another session
-- After       python -m validation validate; after a mass load also ANALYZE.
-- Not used by make import-data (one transaction builds the indexes after the rows: faster, and all
--             or nothing).

\set ON_ERROR_STOP on
\set QUIET on
\ir indexes.before.sql
SET application_name = 'create_indexes.sql';
\set ECHO queries
\set QUIET off

-- Leftovers of an interrupted run, which IF NOT EXISTS would take for the index
SELECT format('DROP INDEX CONCURRENTLY %s', x.indexrelid::regclass)
FROM pg_index AS x
INNER JOIN json_each_text(current_setting('property_v2.indexes')::json) AS i (name, definition)
    ON x.indexrelid = to_regclass(quote_ident(i.name))
WHERE NOT x.indisvalid
\gexec

SELECT replace(i.definition, 'CREATE INDEX', 'CREATE INDEX CONCURRENTLY IF NOT EXISTS')
FROM json_each_text(current_setting('property_v2.indexes')::json) AS i (name, definition)
\gexec
