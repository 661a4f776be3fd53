-- Filter by monthly rent: 10,000 to 20,000 baht, in satang.
-- Bind   transaction_type, both prices
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
    AND rent_price BETWEEN 1000000 AND 2000000
ORDER BY listing_priority DESC, created_at DESC, id DESC
LIMIT 24;
