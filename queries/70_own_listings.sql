-- A user's own listings, drafts too, in the order of the site.
-- Bind   created_by
-- Index  idx_properties_created_by or idx_properties_listing
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
    AND created_by = 120
ORDER BY listing_priority DESC, created_at DESC, id DESC
LIMIT 24;
