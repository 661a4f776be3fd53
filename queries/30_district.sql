-- Filter by district: Watthana in Bangkok, two in a hundred. The planner judges documents by a
-- hundred of them, and now and then takes such a share for a rarity. So the query looks among the
-- 3,000 listings at the top first, and only if they are not enough among all, as in 29.
-- Bind   the document, twice
-- Index  idx_properties_listing
-- Index  idx_properties_location_details
-- Limit  50 ms
WITH at_the_top AS MATERIALIZED (
    SELECT id
    FROM (
        SELECT *
        FROM properties
        WHERE is_published = TRUE AND deleted_at IS NULL
        ORDER BY listing_priority DESC, created_at DESC, id DESC
        LIMIT 3000
    ) AS p
    WHERE location_details @> '{"administrative": {"district_id": 1039}}'
    ORDER BY listing_priority DESC, created_at DESC, id DESC
    LIMIT 24
),

-- Without a LIMIT, the walk down the listing is not an option
anywhere AS MATERIALIZED (
    SELECT
        id,
        listing_priority,
        created_at,
        is_published,
        deleted_at
    FROM properties
    WHERE
        (SELECT count(*) FROM at_the_top) < 24
        AND location_details @> '{"administrative": {"district_id": 1039}}'
),

page AS MATERIALIZED (
    SELECT id FROM at_the_top
    UNION
    (
        SELECT id FROM anywhere
        WHERE is_published = TRUE AND deleted_at IS NULL
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
