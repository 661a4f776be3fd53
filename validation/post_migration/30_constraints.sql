-- Every constraint, by its definition without casts between text types. NOT NULL: see the columns.
WITH expected (name, definition) AS (
    SELECT
        v.name,
        regexp_replace(v.definition, '\s+', ' ', 'g')
    FROM (
        VALUES
        ('amenities.amenities_pkey', 'PRIMARY KEY (id)'),
        (
            'amenities.valid_amenity_category',
            $$CHECK (category = ANY (ARRAY['interior', 'exterior', 'building', 'area']))$$
        ),
        ('amenity_translations.amenity_translations_pkey', 'PRIMARY KEY (id)'),
        ('amenity_translations.unique_amenity_translation', 'UNIQUE (amenity_id, locale)'),
        (
            'amenity_translations.amenity_translations_amenity_id_fkey',
            'FOREIGN KEY (amenity_id) REFERENCES amenities(id) ON DELETE CASCADE'
        ),
        (
            'amenity_translations.valid_locale_amenity',
            $$CHECK (locale ~ '^[a-z]{2}(-[A-Z]{2})?$')$$
        ),
        ('policies.policies_pkey', 'PRIMARY KEY (id)'),
        (
            'policies.valid_policy_category',
            $$CHECK (category = ANY (ARRAY['lease_terms', 'house_rules', 'payment']))$$
        ),
        (
            'policies.valid_policy_data_type',
            $$CHECK (data_type = ANY (ARRAY['boolean', 'integer', 'text', 'select']))$$
        ),
        ('policy_translations.policy_translations_pkey', 'PRIMARY KEY (id)'),
        ('policy_translations.unique_policy_translation', 'UNIQUE (policy_id, locale)'),
        (
            'policy_translations.policy_translations_policy_id_fkey',
            'FOREIGN KEY (policy_id) REFERENCES policies(id) ON DELETE CASCADE'
        ),
        ('policy_translations.valid_locale_policy', $$CHECK (locale ~ '^[a-z]{2}(-[A-Z]{2})?$')$$),
        ('properties.properties_pkey', 'PRIMARY KEY (id)'),
        (
            'properties.properties_created_by_fkey',
            'FOREIGN KEY (created_by) REFERENCES users(id) ON DELETE SET NULL'
        ),
        (
            'properties.properties_updated_by_fkey',
            'FOREIGN KEY (updated_by) REFERENCES users(id) ON DELETE SET NULL'
        ),
        (
            'properties.positive_prices',
            'CHECK ((rent_price IS NULL OR rent_price > 0) AND (sale_price IS NULL OR sale_price >
            0) AND (lease_price IS NULL OR lease_price > 0))'
        ),
        (
            'properties.valid_currency',
            $$CHECK (currency = ANY (ARRAY['THB', 'USD', 'EUR', 'GBP', 'JPY']))$$
        ),
        (
            'properties.valid_price_for_transaction',
            $$CHECK (transaction_type = 'rent' AND rent_price IS NOT NULL OR transaction_type =
            'sale' AND sale_price IS NOT NULL OR transaction_type = 'lease' AND lease_price IS NOT
            NULL)$$
        ),
        ('properties.valid_priority', 'CHECK (listing_priority >= 0 AND listing_priority <= 999)'),
        (
            'properties.valid_property_type',
            $$CHECK (property_type = ANY (ARRAY['villa', 'condo', 'apartment', 'townhouse',
            'house', 'commercial', 'land', 'office', 'retail', 'warehouse']))$$
        ),
        (
            'properties.valid_transaction_type',
            $$CHECK (transaction_type = ANY (ARRAY['rent', 'sale', 'lease']))$$
        ),
        ('property_translations.property_translations_pkey', 'PRIMARY KEY (id)'),
        ('property_translations.unique_translation', 'UNIQUE (property_id, locale, field)'),
        (
            'property_translations.property_translations_property_id_fkey',
            'FOREIGN KEY (property_id) REFERENCES properties(id) ON DELETE CASCADE'
        ),
        (
            'property_translations.valid_field',
            $$CHECK (field = ANY (ARRAY['title', 'description', 'location_province',
            'location_district', 'location_subdistrict', 'location_address']))$$
        ),
        ('property_translations.valid_locale', $$CHECK (locale ~ '^[a-z]{2}(-[A-Z]{2})?$')$$)
    ) AS v (name, definition)
),

found (name, definition) AS (
    SELECT
        c.relname || '.' || k.conname,
        concat_ws(
            ' ',
            regexp_replace(
                pg_get_constraintdef(k.oid, TRUE),
                '::(text|character varying)(\[\])?|\mpublic\.', '', 'g'
            ),
            -- Triggers enforce a foreign key: ALTER TABLE … DISABLE TRIGGER ALL stops them
            CASE
                WHEN
                    EXISTS (
                        SELECT FROM pg_trigger AS t
                        WHERE t.tgconstraint = k.oid AND t.tgenabled <> 'O'
                    )
                    THEN '(triggers disabled)'
            END
        )
    FROM pg_constraint AS k
    INNER JOIN pg_class AS c ON k.conrelid = c.oid
    WHERE
        c.relnamespace = 'public'::regnamespace
        AND c.relname IN (SELECT split_part(expected.name, '.', 1) FROM expected)
        AND k.contype <> 'n'
)

SELECT
    'constraints' AS check_name,
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
        WHEN found.definition LIKE '%(triggers disabled)'
            THEN format('ALTER TABLE %s ENABLE TRIGGER ALL;', split_part(name, '.', 1))
        WHEN found.definition = expected.definition THEN NULL
        ELSE concat_ws(
            ' ',
            CASE
                WHEN found.definition IS NOT NULL
                    THEN format(
                        'ALTER TABLE %s DROP CONSTRAINT %I;',
                        split_part(name, '.', 1), split_part(name, '.', 2)
                    )
            END,
            CASE
                WHEN expected.definition IS NOT NULL
                    THEN format(
                        'ALTER TABLE %s ADD CONSTRAINT %I %s;',
                        split_part(name, '.', 1), split_part(name, '.', 2), expected.definition
                    )
            END
        )
    END AS what_to_do
FROM expected
FULL JOIN found USING (name)
ORDER BY name;
