-- What to translate next: listings without a title in the wanted locale, in the order of the site.
-- Bind   the wanted locale
-- Index  idx_properties_listing
-- Index  idx_property_translations_lookup or unique_translation
-- Limit  50 ms
SELECT
    id,
    title,
    transaction_type,
    rent_price,
    sale_price,
    lease_price,
    cover_image,
    listing_priority,
    created_at
FROM properties
WHERE
    deleted_at IS NULL
    AND NOT EXISTS (
        SELECT
        FROM property_translations AS t
        WHERE t.property_id = properties.id AND t.locale = 'th' AND t.field = 'title'
    )
ORDER BY listing_priority DESC, created_at DESC, id DESC
LIMIT 24;
