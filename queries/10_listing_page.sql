-- The first page of the site: 24 published listings by priority and date. The id decides between
-- equals, so that the next page can begin exactly where this one ends. It needs created_at to the
-- microsecond: take it as text (created_at::text) where the driver makes a JavaScript Date of it.
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
    is_published = TRUE AND deleted_at IS NULL
ORDER BY listing_priority DESC, created_at DESC, id DESC
LIMIT 24;
