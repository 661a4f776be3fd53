-- = ANY (tags): no operator of the index, which answers @> and &&.
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
    AND 'heritage' = any(tags)
ORDER BY listing_priority DESC, created_at DESC, id DESC
LIMIT 24;
