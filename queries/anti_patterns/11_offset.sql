-- OFFSET: reads and throws away every row before the page (this many at 1,000,000).
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
ORDER BY listing_priority DESC, created_at DESC, id DESC
LIMIT 24 OFFSET 467521;
