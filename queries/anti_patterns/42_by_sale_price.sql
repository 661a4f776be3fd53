-- By sale_price alone: sorts every listing for sale.
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
ORDER BY sale_price, id
LIMIT 24;
