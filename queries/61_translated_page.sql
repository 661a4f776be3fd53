-- A page with its texts in the wanted locale, in one query: first the 24 listings, then their
-- translations. Without LATERAL, which a Citus cluster does not take here.
-- Bind   the wanted locale (twice), and the filter's values
-- Index  idx_properties_listing
-- Index  idx_property_translations_lookup or unique_translation
-- Limit  50 ms
WITH page AS MATERIALIZED (
    SELECT
        id,
        title,
        location_details,
        rent_price,
        cover_image,
        listing_priority,
        created_at
    FROM properties
    WHERE
        is_published = TRUE AND deleted_at IS NULL
        AND transaction_type = 'rent'
    ORDER BY listing_priority DESC, created_at DESC, id DESC
    LIMIT 24
),

texts AS MATERIALIZED (
    SELECT
        t.property_id,
        jsonb_object_agg(t.field, t.value) AS texts
    FROM (
        SELECT DISTINCT ON (s.property_id, s.field)
            s.property_id,
            s.field,
            s.value
        FROM property_translations AS s
        WHERE s.property_id IN (SELECT g.id FROM page AS g) AND s.locale IN ('th', 'en')
        ORDER BY s.property_id, s.field, s.locale = 'th' DESC
    ) AS t
    GROUP BY t.property_id
)

SELECT
    p.id,
    p.rent_price,
    p.cover_image,
    p.listing_priority,
    p.created_at,
    coalesce(t.texts ->> 'title', p.title) AS title,
    coalesce(
        t.texts ->> 'location_province',
        p.location_details #>> '{administrative,province_name}'
    ) AS province
FROM page AS p
LEFT JOIN texts AS t ON p.id = t.property_id
ORDER BY p.listing_priority DESC, p.created_at DESC, p.id DESC;
