-- Every index, by its definition: columns, order, operator class, predicate; valid and ready.
WITH expected (name, definition) AS (
    SELECT
        v.name,
        regexp_replace(v.definition, '\s+', ' ', 'g')
    FROM (
        VALUES
        ('amenities_pkey', 'CREATE UNIQUE INDEX amenities_pkey ON amenities USING btree (id)'),
        (
            'idx_amenities_category',
            'CREATE INDEX idx_amenities_category ON amenities
            USING btree (category)
            WHERE (is_active = true)'
        ),
        (
            'amenity_translations_pkey',
            'CREATE UNIQUE INDEX amenity_translations_pkey ON amenity_translations
            USING btree (id)'
        ),
        (
            'unique_amenity_translation',
            'CREATE UNIQUE INDEX unique_amenity_translation ON amenity_translations
            USING btree (amenity_id, locale)'
        ),
        ('policies_pkey', 'CREATE UNIQUE INDEX policies_pkey ON policies USING btree (id)'),
        (
            'idx_policies_category',
            'CREATE INDEX idx_policies_category ON policies
            USING btree (category)
            WHERE (is_active = true)'
        ),
        (
            'policy_translations_pkey',
            'CREATE UNIQUE INDEX policy_translations_pkey ON policy_translations
            USING btree (id)'
        ),
        (
            'unique_policy_translation',
            'CREATE UNIQUE INDEX unique_policy_translation ON policy_translations
            USING btree (policy_id, locale)'
        ),
        ('properties_pkey', 'CREATE UNIQUE INDEX properties_pkey ON properties USING btree (id)'),
        (
            'idx_properties_amenities',
            'CREATE INDEX idx_properties_amenities ON properties
            USING gin (amenities jsonb_path_ops)'
        ),
        (
            'idx_properties_created_by',
            'CREATE INDEX idx_properties_created_by ON properties
            USING btree (created_by)
            WHERE (deleted_at IS NULL)'
        ),
        (
            'idx_properties_deleted_at',
            'CREATE INDEX idx_properties_deleted_at ON properties
            USING btree (deleted_at)
            WHERE (deleted_at IS NOT NULL)'
        ),
        (
            'idx_properties_listing',
            'CREATE INDEX idx_properties_listing ON properties
            USING btree (listing_priority DESC, created_at DESC)
            WHERE (deleted_at IS NULL)'
        ),
        (
            'idx_properties_location_details',
            'CREATE INDEX idx_properties_location_details ON properties
            USING gin (location_details jsonb_path_ops)'
        ),
        (
            'idx_properties_physical_specs',
            'CREATE INDEX idx_properties_physical_specs ON properties
            USING gin (physical_specs jsonb_path_ops)'
        ),
        (
            'idx_properties_policies',
            'CREATE INDEX idx_properties_policies ON properties
            USING gin (policies jsonb_path_ops)'
        ),
        ('idx_properties_tags', 'CREATE INDEX idx_properties_tags ON properties USING gin (tags)'),
        (
            'idx_properties_transaction_price',
            'CREATE INDEX idx_properties_transaction_price ON properties
            USING btree (transaction_type, rent_price, sale_price, lease_price)
            WHERE ((is_published = true) AND (deleted_at IS NULL))'
        ),
        (
            'idx_properties_type',
            'CREATE INDEX idx_properties_type ON properties
            USING btree (property_type)
            WHERE ((is_published = true) AND (deleted_at IS NULL))'
        ),
        (
            'property_translations_pkey',
            'CREATE UNIQUE INDEX property_translations_pkey ON property_translations
            USING btree (id)'
        ),
        (
            'unique_translation',
            'CREATE UNIQUE INDEX unique_translation ON property_translations
            USING btree (property_id, locale, field)'
        ),
        (
            'idx_property_translations_locale',
            'CREATE INDEX idx_property_translations_locale ON property_translations
            USING btree (locale)'
        ),
        (
            'idx_property_translations_lookup',
            'CREATE INDEX idx_property_translations_lookup ON property_translations
            USING btree (property_id, locale)'
        )
    ) AS v (name, definition)
),

found (name, definition) AS (
    SELECT
        c.relname,
        concat_ws(
            ' ',
            regexp_replace(pg_get_indexdef(i.indexrelid), '\mpublic\.', '', 'g'),
            CASE WHEN NOT i.indisvalid THEN '(invalid)' END,
            CASE WHEN NOT (i.indisready AND i.indislive) THEN '(not ready)' END
        )
    FROM pg_index AS i
    INNER JOIN pg_class AS c ON i.indexrelid = c.oid
    INNER JOIN pg_class AS t ON i.indrelid = t.oid
    WHERE
        t.relnamespace = 'public'::regnamespace
        AND t.relname IN (
            'amenities', 'amenity_translations', 'policies', 'policy_translations',
            'properties', 'property_translations'
        )
)

SELECT
    'indexes' AS check_name,
    CASE WHEN found.definition = expected.definition THEN 'pass' ELSE 'fail' END AS status,
    CASE
        WHEN found.definition = expected.definition
            THEN format('%s: %s', name, found.definition)
        ELSE format(
            '%s: expected %s; found %s',
            name, coalesce(expected.definition, 'nothing'), coalesce(found.definition, 'nothing')
        )
    END AS found,
    CASE
        WHEN found.definition = expected.definition THEN NULL
        ELSE concat_ws(
            ' ',
            CASE
                WHEN found.definition IS NOT NULL
                    THEN format('DROP INDEX CONCURRENTLY %I;', name)
            END,
            replace(expected.definition, 'INDEX', 'INDEX CONCURRENTLY') || ';'
        )
    END AS what_to_do
FROM expected
FULL JOIN found USING (name)
ORDER BY name;
