-- By date alone: no index has that order.
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
    deleted_at IS NULL
    AND is_published = FALSE
ORDER BY created_at DESC, id DESC
LIMIT 24;
