-- Every name that 0001_property_v2 takes in schema public, and what holds it now.
-- Before the migration all of them must be free; afterwards all are there; nothing in between.
WITH expected (kind, name) AS (
    VALUES
    ('table', 'amenities'),
    ('table', 'amenity_translations'),
    ('table', 'policies'),
    ('table', 'policy_translations'),
    ('table', 'properties'),
    ('table', 'property_translations'),
    ('sequence', 'amenity_translations_id_seq'),
    ('sequence', 'policy_translations_id_seq'),
    ('sequence', 'property_translations_id_seq'),
    ('index', 'amenities_pkey'),
    ('index', 'amenity_translations_pkey'),
    ('index', 'policies_pkey'),
    ('index', 'policy_translations_pkey'),
    ('index', 'properties_pkey'),
    ('index', 'property_translations_pkey'),
    ('index', 'unique_amenity_translation'),
    ('index', 'unique_policy_translation'),
    ('index', 'unique_translation'),
    ('index', 'idx_amenities_category'),
    ('index', 'idx_policies_category'),
    ('index', 'idx_properties_transaction_price'),
    ('index', 'idx_properties_type'),
    ('index', 'idx_properties_listing'),
    ('index', 'idx_properties_created_by'),
    ('index', 'idx_properties_deleted_at'),
    ('index', 'idx_properties_physical_specs'),
    ('index', 'idx_properties_amenities'),
    ('index', 'idx_properties_policies'),
    ('index', 'idx_properties_location_details'),
    ('index', 'idx_properties_tags'),
    ('index', 'idx_property_translations_lookup'),
    ('index', 'idx_property_translations_locale')
),

found (kind, name, owned_by) AS (
    SELECT
        CASE c.relkind
            WHEN 'r' THEN 'table'
            WHEN 'p' THEN 'partitioned table'
            WHEN 'i' THEN 'index'
            WHEN 'S' THEN 'sequence'
            WHEN 'v' THEN 'view'
            WHEN 'm' THEN 'materialized view'
            WHEN 'f' THEN 'foreign table'
            WHEN 'c' THEN 'composite type'
            ELSE 'relation'
        END,
        c.relname,
        c.relowner::regrole::text
    FROM pg_class AS c
    WHERE c.relnamespace = 'public'::regnamespace
    UNION ALL
    SELECT
        'type',
        t.typname,
        t.typowner::regrole::text
    FROM pg_type AS t
    WHERE t.typnamespace = 'public'::regnamespace AND t.typrelid = 0
)

SELECT
    expected.kind AS expected_kind,
    expected.name,
    found.kind AS found_kind,
    found.owned_by
FROM expected
LEFT JOIN found ON expected.name = found.name
WHERE found.kind IS NULL OR found.kind <> 'type' OR expected.kind = 'table'
ORDER BY expected.kind, expected.name;
