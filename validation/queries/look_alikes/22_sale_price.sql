-- Without rent_price IS NULL: before PostgreSQL 18 every sale in the index is read.
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
    AND sale_price BETWEEN 500000000 AND 510000000
ORDER BY listing_priority DESC, created_at DESC, id DESC
LIMIT 24;
