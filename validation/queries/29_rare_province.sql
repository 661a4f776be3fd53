-- Filter by province: Ranong, one listing in a thousand. First all of them by their index, then the
-- page: statistics of documents are coarse, and the planner may take a rare value for a common one.
-- Bind   the document
-- Index  idx_properties_location_details
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
        created_at
    FROM properties
    WHERE
        is_published = TRUE AND deleted_at IS NULL
        AND location_details @> '{"administrative": {"province_id": 85}}'
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
ORDER BY listing_priority DESC, created_at DESC, id DESC
LIMIT 24;
