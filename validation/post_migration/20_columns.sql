-- Every column: type, length, collation, null and default, as PostgreSQL writes them.
WITH expected (name, definition) AS (
    VALUES
    ('amenities.id', 'character varying(100) NOT NULL'),
    ('amenities.category', 'character varying(50) NOT NULL'),
    ('amenities.icon', 'character varying(100)'),
    ('amenities.sort_order', 'integer NOT NULL DEFAULT 0'),
    ('amenities.is_active', 'boolean NOT NULL DEFAULT true'),
    ('amenities.created_at', 'timestamp with time zone NOT NULL DEFAULT CURRENT_TIMESTAMP'),
    ('amenities.updated_at', 'timestamp with time zone NOT NULL DEFAULT CURRENT_TIMESTAMP'),
    (
        'amenity_translations.id',
        $$integer NOT NULL DEFAULT nextval('amenity_translations_id_seq'::regclass)$$
    ),
    ('amenity_translations.amenity_id', 'character varying(100) NOT NULL'),
    ('amenity_translations.locale', 'character varying(5) NOT NULL'),
    ('amenity_translations.name', 'character varying(255) NOT NULL'),
    (
        'amenity_translations.created_at',
        'timestamp with time zone NOT NULL DEFAULT CURRENT_TIMESTAMP'
    ),
    (
        'amenity_translations.updated_at',
        'timestamp with time zone NOT NULL DEFAULT CURRENT_TIMESTAMP'
    ),
    ('policies.id', 'character varying(100) NOT NULL'),
    ('policies.category', 'character varying(50) NOT NULL'),
    ('policies.data_type', 'character varying(20) NOT NULL'),
    ('policies.is_active', 'boolean NOT NULL DEFAULT true'),
    ('policies.sort_order', 'integer NOT NULL DEFAULT 0'),
    ('policies.created_at', 'timestamp with time zone NOT NULL DEFAULT CURRENT_TIMESTAMP'),
    ('policies.updated_at', 'timestamp with time zone NOT NULL DEFAULT CURRENT_TIMESTAMP'),
    (
        'policy_translations.id',
        $$integer NOT NULL DEFAULT nextval('policy_translations_id_seq'::regclass)$$
    ),
    ('policy_translations.policy_id', 'character varying(100) NOT NULL'),
    ('policy_translations.locale', 'character varying(5) NOT NULL'),
    ('policy_translations.name', 'character varying(255) NOT NULL'),
    ('policy_translations.description', 'text'),
    (
        'policy_translations.created_at',
        'timestamp with time zone NOT NULL DEFAULT CURRENT_TIMESTAMP'
    ),
    (
        'policy_translations.updated_at',
        'timestamp with time zone NOT NULL DEFAULT CURRENT_TIMESTAMP'
    ),
    ('properties.id', 'uuid NOT NULL DEFAULT gen_random_uuid()'),
    ('properties.title', 'character varying(255) NOT NULL'),
    ('properties.description', 'text NOT NULL'),
    ('properties.transaction_type', 'character varying(20) NOT NULL'),
    ('properties.property_type', 'character varying(50) NOT NULL'),
    ('properties.rent_price', 'bigint'),
    ('properties.sale_price', 'bigint'),
    ('properties.lease_price', 'bigint'),
    ('properties.currency', $$character varying(3) NOT NULL DEFAULT 'THB'::character varying$$),
    ('properties.physical_specs', $$jsonb NOT NULL DEFAULT '{}'::jsonb$$),
    ('properties.location_details', $$jsonb NOT NULL DEFAULT '{}'::jsonb$$),
    ('properties.amenities', $$jsonb NOT NULL DEFAULT '{}'::jsonb$$),
    ('properties.policies', $$jsonb NOT NULL DEFAULT '{}'::jsonb$$),
    ('properties.contact_info', $$jsonb NOT NULL DEFAULT '{}'::jsonb$$),
    ('properties.cover_image', 'jsonb'),
    ('properties.images', 'jsonb[] NOT NULL DEFAULT ARRAY[]::jsonb[]'),
    ('properties.tags', 'text[] NOT NULL DEFAULT ARRAY[]::text[]'),
    ('properties.description_embedding_en', 'vector(1536)'),
    ('properties.description_embedding_th', 'vector(1536)'),
    ('properties.is_published', 'boolean NOT NULL DEFAULT false'),
    ('properties.is_featured', 'boolean NOT NULL DEFAULT false'),
    ('properties.listing_priority', 'integer NOT NULL DEFAULT 0'),
    ('properties.deleted_at', 'timestamp with time zone'),
    ('properties.created_by', 'integer'),
    ('properties.updated_by', 'integer'),
    ('properties.created_at', 'timestamp with time zone NOT NULL DEFAULT CURRENT_TIMESTAMP'),
    ('properties.updated_at', 'timestamp with time zone NOT NULL DEFAULT CURRENT_TIMESTAMP'),
    (
        'property_translations.id',
        $$integer NOT NULL DEFAULT nextval('property_translations_id_seq'::regclass)$$
    ),
    ('property_translations.property_id', 'uuid NOT NULL'),
    ('property_translations.locale', 'character varying(5) NOT NULL'),
    ('property_translations.field', 'character varying(100) NOT NULL'),
    ('property_translations.value', 'text NOT NULL'),
    (
        'property_translations.created_at',
        'timestamp with time zone NOT NULL DEFAULT CURRENT_TIMESTAMP'
    ),
    (
        'property_translations.updated_at',
        'timestamp with time zone NOT NULL DEFAULT CURRENT_TIMESTAMP'
    )
),

found (name, definition) AS (
    SELECT
        c.relname || '.' || a.attname,
        concat_ws(
            ' ',
            -- Without the schema that the extension lives in
            regexp_replace(format_type(a.atttypid, a.atttypmod), '^\w+\.', ''),
            CASE
                WHEN a.attcollation <> t.typcollation
                    THEN 'COLLATE ' || a.attcollation::regcollation
            END,
            CASE WHEN a.attnotnull THEN 'NOT NULL' END,
            CASE WHEN n.oid IS NOT NULL THEN 'NOT VALID' END,
            CASE WHEN a.attidentity <> '' THEN 'IDENTITY' END,
            CASE WHEN a.attgenerated <> '' THEN 'GENERATED' END,
            'DEFAULT ' || replace(pg_get_expr(d.adbin, d.adrelid), 'public.', '')
        )
    FROM pg_class AS c
    INNER JOIN pg_attribute AS a ON c.oid = a.attrelid
    INNER JOIN pg_type AS t ON a.atttypid = t.oid
    LEFT JOIN pg_attrdef AS d ON a.attrelid = d.adrelid AND a.attnum = d.adnum
    LEFT JOIN pg_constraint AS n -- PostgreSQL 18 has NOT NULL there, and may not have checked it
        ON c.oid = n.conrelid AND n.contype = 'n' AND NOT n.convalidated AND a.attnum = n.conkey[1]
    WHERE
        c.relnamespace = 'public'::regnamespace
        AND c.relname IN (SELECT split_part(expected.name, '.', 1) FROM expected)
        AND a.attnum > 0
        AND NOT a.attisdropped
)

SELECT
    'columns' AS check_name,
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
        WHEN found.definition IS NULL
            THEN format(
                'ALTER TABLE %s ADD COLUMN %s %s;',
                split_part(name, '.', 1), split_part(name, '.', 2), expected.definition
            )
        WHEN expected.definition IS NULL
            THEN format(
                'If nobody needs it: ALTER TABLE %s DROP COLUMN %I;',
                split_part(name, '.', 1), split_part(name, '.', 2)
            )
        WHEN found.definition <> expected.definition
            THEN format(
                'Bring it back with ALTER TABLE %s ALTER COLUMN %I.',
                split_part(name, '.', 1), split_part(name, '.', 2)
            )
    END AS what_to_do
FROM expected
FULL JOIN found USING (name)
ORDER BY name;
