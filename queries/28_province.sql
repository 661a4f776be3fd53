-- Filter by province: Bangkok, a third of all listings.
-- Bind   the document
-- Index  idx_properties_listing or idx_properties_location_details
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
    AND location_details @> '{"administrative": {"province_id": 10}}'
ORDER BY listing_priority DESC, created_at DESC, id DESC
LIMIT 24;
