-- The search form with values that many have, but nobody together: apartments with five bedrooms.
-- The planner cannot know that. So it looks among the 1,000 listings at the top first, and only if
-- they are not enough among all that have the values, by the indexes of these.
-- Bind   every value, twice
-- Set    work_mem = 16MB, or the bitmaps of so many listings become lossy
-- Index  idx_properties_listing
-- Index  idx_properties_type or idx_properties_physical_specs
-- Limit  50 ms
WITH at_the_top AS MATERIALIZED (
    SELECT id
    FROM (
        SELECT *
        FROM properties
        WHERE is_published = TRUE AND deleted_at IS NULL
        ORDER BY listing_priority DESC, created_at DESC, id DESC
        LIMIT 1000
    ) AS p
    WHERE
        property_type = 'apartment'
        AND physical_specs @> '{"rooms": {"bedrooms": 5}}'
    ORDER BY listing_priority DESC, created_at DESC, id DESC
    LIMIT 24
),

-- Without a LIMIT, the walk down the listing is not an option
anywhere AS MATERIALIZED (
    SELECT
        id,
        listing_priority,
        created_at
    FROM properties
    WHERE
        (SELECT count(*) FROM at_the_top) < 24
        AND is_published = TRUE AND deleted_at IS NULL
        AND property_type = 'apartment'
        AND physical_specs @> '{"rooms": {"bedrooms": 5}}'
),

page AS MATERIALIZED (
    SELECT id FROM at_the_top
    UNION
    (
        SELECT id FROM anywhere
        ORDER BY listing_priority DESC, created_at DESC, id DESC
        LIMIT 24
    )
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
FROM properties
WHERE id IN (SELECT g.id FROM page AS g)
ORDER BY listing_priority DESC, created_at DESC, id DESC
LIMIT 24;
