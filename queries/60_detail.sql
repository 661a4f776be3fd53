-- The detail page: one listing with its texts in the wanted locale, else in English, else as they
-- stand in properties.
-- Bind   the wanted locale and id (both twice: so a Citus cluster asks one shard)
-- Index  properties_pkey
-- Index  idx_property_translations_lookup or unique_translation
-- Limit  10 ms
SELECT
    p.id,
    p.transaction_type,
    p.property_type,
    p.rent_price,
    p.sale_price,
    p.lease_price,
    p.currency,
    p.physical_specs,
    p.location_details,
    p.amenities,
    p.policies,
    p.contact_info,
    p.cover_image,
    p.images,
    p.tags,
    t.texts,
    coalesce(t.texts ->> 'title', p.title) AS title,
    coalesce(t.texts ->> 'description', p.description) AS description
FROM properties AS p
LEFT JOIN LATERAL (
    SELECT jsonb_object_agg(t.field, t.value) AS texts
    FROM (
        SELECT DISTINCT ON (s.field)
            s.field,
            s.value
        FROM property_translations AS s
        WHERE s.property_id = '975ca880-4565-c1a5-6945-0d61090b2743' AND s.locale IN ('th', 'en')
        ORDER BY s.field, s.locale = 'th' DESC
    ) AS t
) AS t ON TRUE
WHERE
    p.id = '975ca880-4565-c1a5-6945-0d61090b2743'
    AND p.is_published = TRUE AND p.deleted_at IS NULL;
