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
-- After       python -m validation post-migration; after a mass load also ANALYZE.
-- Not used by make import-data (one transaction builds the indexes after the rows: faster, and all
--             or nothing).

\set ON_ERROR_STOP on
\set QUIET on
SET application_name = 'create_indexes.sql';
\ir indexes.before.sql
\set ECHO queries
\set QUIET off

-- Leftovers of an interrupted run, which IF NOT EXISTS would take for the index
SELECT format('DROP INDEX CONCURRENTLY %s', indexrelid::regclass)
FROM pg_index
WHERE
    NOT indisvalid
    AND indexrelid::regclass::text IN (
        'idx_amenities_category', 'idx_policies_category',
        'idx_properties_transaction_price', 'idx_properties_type', 'idx_properties_listing',
        'idx_properties_created_by', 'idx_properties_deleted_at',
        'idx_properties_physical_specs', 'idx_properties_amenities', 'idx_properties_policies',
        'idx_properties_location_details', 'idx_properties_tags',
        'idx_property_translations_lookup', 'idx_property_translations_locale'
    )
\gexec

CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_amenities_category
ON amenities (category)
WHERE is_active = TRUE;

CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_policies_category
ON policies (category)
WHERE is_active = TRUE;

CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_properties_transaction_price
ON properties (transaction_type, rent_price, sale_price, lease_price)
WHERE is_published = TRUE AND deleted_at IS NULL;

CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_properties_type
ON properties (property_type)
WHERE is_published = TRUE AND deleted_at IS NULL;

CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_properties_listing
ON properties (listing_priority DESC, created_at DESC)
WHERE deleted_at IS NULL;

CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_properties_created_by
ON properties (created_by)
WHERE deleted_at IS NULL;

CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_properties_deleted_at
ON properties (deleted_at)
WHERE deleted_at IS NOT NULL;

CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_properties_physical_specs
ON properties USING gin (physical_specs jsonb_path_ops);

CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_properties_amenities
ON properties USING gin (amenities jsonb_path_ops);

CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_properties_policies
ON properties USING gin (policies jsonb_path_ops);

CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_properties_location_details
ON properties USING gin (location_details jsonb_path_ops);

CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_properties_tags
ON properties USING gin (tags);

CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_property_translations_lookup
ON property_translations (property_id, locale);

CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_property_translations_locale
ON property_translations (locale);
