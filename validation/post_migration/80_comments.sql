-- The comments on tables and columns.
WITH expected (name, definition) AS (
    VALUES
    ('amenity_translations.locale', 'Language, or language and country: en, th, en-GB'),
    ('policy_translations.locale', 'Language, or language and country: en, th, en-GB'),
    ('properties', 'Main properties table with hybrid localization (JSONB + translations table)'),
    ('properties.rent_price', 'Monthly rent in smallest currency unit (satang/cents)'),
    ('properties.sale_price', 'Sale price in smallest currency unit (satang/cents)'),
    ('properties.lease_price', 'Lease price in smallest currency unit (satang/cents)'),
    ('properties.physical_specs', 'JSONB: rooms, sizes, floors, year_built, etc.'),
    (
        'properties.location_details',
        'JSONB: administrative (province_id, district_id, etc.), coordinates, nearby_landmarks'
    ),
    (
        'properties.amenities',
        'JSONB: amenity IDs categorized by type (interior/exterior/building/area)'
    ),
    (
        'properties.policies',
        'JSONB: values by policy ID, in categories (lease_terms/house_rules/payment)'
    ),
    ('properties.contact_info', 'JSONB: phone, email, line_id, preferred_contact, etc.'),
    ('properties.cover_image', 'JSONB: url, alt, width, height, format'),
    ('properties.images', 'JSONB each: url, alt, width, height, format; in the order shown'),
    (
        'properties.description_embedding_en',
        'Future: vector embedding for semantic search (English)'
    ),
    ('property_translations', 'Localized text for properties (title, description, location names)'),
    ('property_translations.locale', 'Language, or language and country: en, th, en-GB')
),

found (name, definition) AS (
    SELECT
        concat_ws('.', c.relname, a.attname),
        d.description
    FROM pg_description AS d
    INNER JOIN pg_class AS c ON d.objoid = c.oid
    LEFT JOIN pg_attribute AS a
        ON d.objoid = a.attrelid AND d.objsubid = a.attnum AND d.objsubid > 0
    WHERE
        d.classoid = 'pg_class'::regclass
        AND c.relnamespace = 'public'::regnamespace
        AND c.relname IN (
            'amenities', 'amenity_translations', 'policies', 'policy_translations',
            'properties', 'property_translations'
        )
)

SELECT
    'comments' AS check_name,
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
        ELSE format(
            'COMMENT ON %s %s IS %s;',
            CASE WHEN name LIKE '%.%' THEN 'COLUMN' ELSE 'TABLE' END,
            name, coalesce(quote_literal(expected.definition), 'NULL')
        )
    END AS what_to_do
FROM expected
FULL JOIN found USING (name)
ORDER BY name;
