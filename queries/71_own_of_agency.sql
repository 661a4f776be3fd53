-- The same for the agency that owns one listing in sixteen.
-- Bind   created_by
-- Index  idx_properties_listing or idx_properties_created_by
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
    AND created_by = 1
ORDER BY listing_priority DESC, created_at DESC, id DESC
LIMIT 24;
