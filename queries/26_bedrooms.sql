-- Filter by bedrooms. Only @> on the whole document can use its index, here and below.
-- Bind   the document
-- Index  idx_properties_listing or idx_properties_physical_specs
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
    AND physical_specs @> '{"rooms": {"bedrooms": 3}}'
ORDER BY listing_priority DESC, created_at DESC, id DESC
LIMIT 24;
