-- Filter by tags: all of them must be there.
-- Bind   the array
-- Index  idx_properties_listing or idx_properties_tags
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
    is_published = TRUE AND deleted_at IS NULL
    AND tags @> ARRAY['new', 'sea_view']
ORDER BY listing_priority DESC, created_at DESC, id DESC
LIMIT 24;
