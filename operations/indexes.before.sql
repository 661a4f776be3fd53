-- What drop_indexes.sql and create_indexes.sql begin with: a session of one's own, which indexes,
-- nobody else's limits, and one at a time.

\ir no_pooler.sql

SELECT
    set_config(
        'property_v2.indexes', json_object_agg(i.name, i.definition)::text, FALSE
    ) AS definitions
FROM (
    -- written by make renew
    VALUES
    (
        'idx_amenities_category',
        'CREATE INDEX idx_amenities_category ON amenities USING btree (category) WHERE '
        '(is_active = true)'
    ),
    (
        'idx_policies_category',
        'CREATE INDEX idx_policies_category ON policies USING btree (category) WHERE '
        '(is_active = true)'
    ),
    (
        'idx_properties_amenities',
        'CREATE INDEX idx_properties_amenities ON properties USING gin (amenities '
        'jsonb_path_ops)'
    ),
    (
        'idx_properties_created_by',
        'CREATE INDEX idx_properties_created_by ON properties USING btree (created_by) WHERE '
        '(deleted_at IS NULL)'
    ),
    (
        'idx_properties_deleted_at',
        'CREATE INDEX idx_properties_deleted_at ON properties USING btree (deleted_at) WHERE '
        '(deleted_at IS NOT NULL)'
    ),
    (
        'idx_properties_listing',
        'CREATE INDEX idx_properties_listing ON properties USING btree (listing_priority '
        'DESC, created_at DESC) WHERE (deleted_at IS NULL)'
    ),
    (
        'idx_properties_location_details',
        'CREATE INDEX idx_properties_location_details ON properties USING gin '
        '(location_details jsonb_path_ops)'
    ),
    (
        'idx_properties_physical_specs',
        'CREATE INDEX idx_properties_physical_specs ON properties USING gin (physical_specs '
        'jsonb_path_ops)'
    ),
    (
        'idx_properties_policies',
        'CREATE INDEX idx_properties_policies ON properties USING gin (policies '
        'jsonb_path_ops)'
    ),
    ('idx_properties_tags', 'CREATE INDEX idx_properties_tags ON properties USING gin (tags)'),
    (
        'idx_properties_transaction_price',
        'CREATE INDEX idx_properties_transaction_price ON properties USING btree '
        '(transaction_type, rent_price, sale_price, lease_price) WHERE ((is_published = true)'
        ' AND (deleted_at IS NULL))'
    ),
    (
        'idx_properties_type',
        'CREATE INDEX idx_properties_type ON properties USING btree (property_type) WHERE '
        '((is_published = true) AND (deleted_at IS NULL))'
    ),
    (
        'idx_property_translations_locale',
        'CREATE INDEX idx_property_translations_locale ON property_translations USING btree '
        '(locale)'
    ),
    (
        'idx_property_translations_lookup',
        'CREATE INDEX idx_property_translations_lookup ON property_translations USING btree '
        '(property_id, locale)'
    )
    -- end of what make renew writes
) AS i (name, definition)
\gset

SET search_path = public;
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
