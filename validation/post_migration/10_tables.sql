-- The six tables: ordinary and permanent, their columns in order, one owner, and nothing that
-- hides, adds or diverts rows.
WITH expected (name, definition) AS (
    SELECT
        v.name,
        regexp_replace(v.definition, '\s+', ' ', 'g')
    FROM (
        VALUES
        (
            'amenities',
            'ordinary table of id, category, icon, sort_order, is_active, created_at, updated_at'
        ),
        (
            'amenity_translations',
            'ordinary table of id, amenity_id, locale, name, created_at, updated_at'
        ),
        (
            'policies',
            'ordinary table of id, category, data_type, is_active, sort_order, created_at,
            updated_at'
        ),
        (
            'policy_translations',
            'ordinary table of id, policy_id, locale, name, description, created_at, updated_at'
        ),
        (
            'properties',
            'ordinary table of id, title, description, transaction_type, property_type,
            rent_price, sale_price, lease_price, currency, physical_specs, location_details,
            amenities, policies, contact_info, cover_image, images, tags,
            description_embedding_en, description_embedding_th, is_published, is_featured,
            listing_priority, deleted_at, created_by, updated_by, created_at, updated_at'
        ),
        (
            'property_translations',
            'ordinary table of id, property_id, locale, field, value, created_at, updated_at'
        )
    ) AS v (name, definition)
),

found (name, definition) AS (
    SELECT
        c.relname,
        concat_ws(
            ' ',
            CASE
                WHEN c.relkind = 'r' THEN 'ordinary table of'
                ELSE format('relation of kind %s of', c.relkind)
            END,
            (
                SELECT string_agg(a.attname, ', ' ORDER BY a.attnum)
                FROM pg_attribute AS a
                WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
            ),
            CASE c.relpersistence WHEN 'u' THEN '(unlogged)' END,
            CASE WHEN c.relrowsecurity OR c.relforcerowsecurity THEN '(row security)' END,
            CASE
                WHEN
                    EXISTS (
                        SELECT FROM pg_rewrite AS r
                        WHERE r.ev_class = c.oid
                    )
                    THEN '(rules)'
            END,
            CASE
                WHEN
                    EXISTS (
                        SELECT FROM pg_inherits AS i
                        WHERE c.oid IN (i.inhrelid, i.inhparent)
                    )
                    THEN '(inheritance)'
            END,
            CASE
                WHEN c.relowner <> properties.relowner
                    THEN format('(owned by %s)', c.relowner::regrole)
            END
        )
    FROM pg_class AS c
    LEFT JOIN pg_class AS properties ON properties.oid = to_regclass('public.properties')
    WHERE
        c.relnamespace = 'public'::regnamespace
        AND c.relname IN (SELECT expected.name FROM expected)
)

SELECT
    'tables' AS check_name,
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
            THEN 'Roll back and apply again, or restore it from a backup.'
        WHEN found.definition <> expected.definition
            THEN 'See what changed (\d+ ' || name || ') and undo it; all six have one owner.'
    END AS what_to_do
FROM expected
FULL JOIN found USING (name)
ORDER BY name;
