-- Filter by province: Ranong, one listing in a thousand. First all of them by their index, then the
-- page: statistics of documents are coarse, and the planner may take a rare value for a common one.
-- Whether they are listed is asked last: asked with the document, it may make the planner read all
-- of a partial index for its predicate alone.
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
        created_at,
        is_published,
        deleted_at
    FROM properties
    WHERE location_details @> '{"administrative": {"province_id": 85}}'
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
