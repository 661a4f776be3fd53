-- Filter by transaction type: a value that many have is found on the way down the listing.
-- Bind   transaction_type
-- Index  idx_properties_listing or idx_properties_transaction_price
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
    AND transaction_type = 'rent'
ORDER BY listing_priority DESC, created_at DESC, id DESC
LIMIT 24;
