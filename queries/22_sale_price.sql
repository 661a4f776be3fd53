-- Filter by sale price: 5.0 to 5.1 million baht. The index has rent_price before sale_price; a
-- listing for sale has none, and saying so leads to the price.
-- Bind   transaction_type, both prices
-- Index  idx_properties_transaction_price or idx_properties_listing
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
    AND transaction_type = 'sale'
    AND rent_price IS NULL
    AND sale_price BETWEEN 500000000 AND 510000000
ORDER BY listing_priority DESC, created_at DESC, id DESC
LIMIT 24;
