-- Aggregates the translations of every rental before the LIMIT.
SELECT
    p.id,
    p.rent_price,
    p.cover_image,
    p.listing_priority,
    p.created_at,
    coalesce(
        max(t.value) FILTER (WHERE t.field = 'title' AND t.locale = 'th'),
        max(t.value) FILTER (WHERE t.field = 'title' AND t.locale = 'en'),
        p.title
    ) AS title,
    coalesce(
        max(t.value) FILTER (WHERE t.field = 'location_province' AND t.locale = 'th'),
        max(t.value) FILTER (WHERE t.field = 'location_province' AND t.locale = 'en'),
        p.location_details #>> '{administrative,province_name}'
    ) AS province
FROM properties AS p
LEFT JOIN property_translations AS t ON p.id = t.property_id
WHERE
    p.is_published = TRUE AND p.deleted_at IS NULL
    AND p.transaction_type = 'rent'
GROUP BY p.id
ORDER BY p.listing_priority DESC, p.created_at DESC, p.id DESC
LIMIT 24;
