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

SET search_path = public;
SET application_name = 'drop_indexes.sql';
-- It waits for others, but others do not wait for it: a limit would only leave half of the work.
SET lock_timeout = 0;
SET statement_timeout = 0;

DO $$ -- alone, and on PostgreSQL 17 and later without a limit for transactions
BEGIN
    IF current_setting('transaction_timeout', true) IS NOT NULL THEN
        PERFORM set_config('transaction_timeout', '0', false);
    END IF;
    PERFORM set_config('lock_timeout', '3s', true); -- the session of a run just ended may linger
    PERFORM pg_advisory_lock(hashtext('property_v2 indexes'));
EXCEPTION WHEN lock_not_available THEN
    RAISE EXCEPTION 'another run of drop_indexes.sql or create_indexes.sql is at work'
        USING HINT = 'Wait for it, or end it: SELECT pid, pg_terminate_backend(pid) FROM '
            'pg_stat_activity WHERE application_name LIKE ''%\_indexes.sql'';';
END;
$$;

\set ECHO queries
\set QUIET off

DROP INDEX CONCURRENTLY IF EXISTS idx_amenities_category;
DROP INDEX CONCURRENTLY IF EXISTS idx_policies_category;
DROP INDEX CONCURRENTLY IF EXISTS idx_properties_transaction_price;
DROP INDEX CONCURRENTLY IF EXISTS idx_properties_type;
DROP INDEX CONCURRENTLY IF EXISTS idx_properties_listing;
DROP INDEX CONCURRENTLY IF EXISTS idx_properties_created_by;
DROP INDEX CONCURRENTLY IF EXISTS idx_properties_deleted_at;
DROP INDEX CONCURRENTLY IF EXISTS idx_properties_physical_specs;
DROP INDEX CONCURRENTLY IF EXISTS idx_properties_amenities;
DROP INDEX CONCURRENTLY IF EXISTS idx_properties_policies;
DROP INDEX CONCURRENTLY IF EXISTS idx_properties_location_details;
DROP INDEX CONCURRENTLY IF EXISTS idx_properties_tags;
DROP INDEX CONCURRENTLY IF EXISTS idx_property_translations_lookup;
DROP INDEX CONCURRENTLY IF EXISTS idx_property_translations_locale;
