-- Listings for sale by price: what comes after the last one shown.
-- Bind   sale_price and id of the last one shown
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
    AND transaction_type = 'sale'
    AND rent_price IS NULL
    AND (sale_price, id) > (216000000, '80000000-0000-0000-0000-000000000000')
ORDER BY rent_price, sale_price, id
LIMIT 24;
