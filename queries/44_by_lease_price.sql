-- Leases by price; rent_price and sale_price are null in all of them.
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
    AND transaction_type = 'lease'
ORDER BY rent_price, sale_price, lease_price, id
LIMIT 24;
