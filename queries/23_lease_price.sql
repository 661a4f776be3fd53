-- Filter by lease price: 40,000 to 41,000 baht, behind two prices that a lease does not have.
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
    AND transaction_type = 'lease'
    AND rent_price IS NULL AND sale_price IS NULL
    AND lease_price BETWEEN 4000000 AND 4100000
ORDER BY listing_priority DESC, created_at DESC, id DESC
LIMIT 24;
