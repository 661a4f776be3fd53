-- Drafts of everybody, for the editors. Fast while drafts are not rare.
-- Index  idx_properties_listing
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
    deleted_at IS NULL
    AND is_published = FALSE
ORDER BY listing_priority DESC, created_at DESC, id DESC
LIMIT 24;
