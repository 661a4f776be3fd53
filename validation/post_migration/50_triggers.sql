-- Every trigger, by its definition, and enabled.
WITH expected (name, definition) AS (
    SELECT
        v.name,
        regexp_replace(v.definition, '\s+', ' ', 'g')
    FROM (
        VALUES
        (
            'amenities.update_amenities_updated_at',
            'CREATE TRIGGER update_amenities_updated_at
            BEFORE UPDATE ON amenities
            FOR EACH ROW EXECUTE FUNCTION update_updated_at_column()'
        ),
        (
            'amenity_translations.update_amenity_translations_updated_at',
            'CREATE TRIGGER update_amenity_translations_updated_at
            BEFORE UPDATE ON amenity_translations
            FOR EACH ROW EXECUTE FUNCTION update_updated_at_column()'
        ),
        (
            'policies.update_policies_updated_at',
            'CREATE TRIGGER update_policies_updated_at
            BEFORE UPDATE ON policies
            FOR EACH ROW EXECUTE FUNCTION update_updated_at_column()'
        ),
        (
            'policy_translations.update_policy_translations_updated_at',
            'CREATE TRIGGER update_policy_translations_updated_at
            BEFORE UPDATE ON policy_translations
            FOR EACH ROW EXECUTE FUNCTION update_updated_at_column()'
        ),
        (
            'properties.update_properties_updated_at',
            'CREATE TRIGGER update_properties_updated_at
            BEFORE UPDATE ON properties
            FOR EACH ROW EXECUTE FUNCTION update_updated_at_column()'
        ),
        (
            'property_translations.update_property_translations_updated_at',
            'CREATE TRIGGER update_property_translations_updated_at
            BEFORE UPDATE ON property_translations
            FOR EACH ROW EXECUTE FUNCTION update_updated_at_column()'
        )
    ) AS v (name, definition)
),

found (name, definition) AS (
    SELECT
        c.relname || '.' || t.tgname,
        concat_ws(
            ' ',
            regexp_replace(pg_get_triggerdef(t.oid), '\mpublic\.', '', 'g'),
            CASE t.tgenabled
                WHEN 'D' THEN '(disabled)'
                WHEN 'R' THEN '(on a replica only)'
                WHEN 'A' THEN '(on a replica too)'
            END
        )
    FROM pg_trigger AS t
    INNER JOIN pg_class AS c ON t.tgrelid = c.oid
    WHERE
        c.relnamespace = 'public'::regnamespace
        AND c.relname IN (SELECT split_part(expected.name, '.', 1) FROM expected)
        AND NOT t.tgisinternal
)

SELECT
    'triggers' AS check_name,
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
        WHEN found.definition LIKE expected.definition || ' (%'
            THEN format(
                'ALTER TABLE %s ENABLE TRIGGER %I;',
                split_part(name, '.', 1), split_part(name, '.', 2)
            )
        WHEN found.definition = expected.definition THEN NULL
        ELSE concat_ws(
            ' ',
            CASE
                WHEN found.definition IS NOT NULL
                    THEN format(
                        'DROP TRIGGER %I ON %s;', split_part(name, '.', 2), split_part(name, '.', 1)
                    )
            END,
            expected.definition || ';'
        )
    END AS what_to_do
FROM expected
FULL JOIN found USING (name)
ORDER BY name;
