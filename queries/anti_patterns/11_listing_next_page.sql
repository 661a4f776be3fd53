-- A row comparison: judged by its first column alone, and nothing is below 0.
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
    AND (listing_priority, created_at, id)
    < (0, '2024-12-01 12:00+07', 'ffffffff-ffff-ffff-ffff-ffffffffffff')
ORDER BY listing_priority DESC, created_at DESC, id DESC
LIMIT 24;
