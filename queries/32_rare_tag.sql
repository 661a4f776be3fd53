-- Filter by a tag that three listings in a thousand have: all of them first, as in a rare province.
-- Bind   the array
-- Index  idx_properties_tags
-- Limit  50 ms
WITH found AS MATERIALIZED (
    SELECT
        id,
        title,
        transaction_type,
        rent_price,
        sale_price,
        lease_price,
        cover_image,
        listing_priority,
        created_at,
        is_published,
        deleted_at
    FROM properties
    WHERE tags @> ARRAY['heritage']
)

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
FROM found
WHERE is_published = TRUE AND deleted_at IS NULL
ORDER BY listing_priority DESC, created_at DESC, id DESC
LIMIT 24;
