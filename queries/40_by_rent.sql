-- Rentals by rent, the cheapest first.
-- Index  idx_properties_transaction_price
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
ORDER BY rent_price, id
LIMIT 24;
