-- Filter by policies: pets and smoking allowed, two in a hundred. In the form of a district (30).
-- Bind   the document, twice
-- Index  idx_properties_listing
-- Index  idx_properties_policies
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
    WHERE policies @> '{"house_rules": {"pets_allowed": true, "smoking_allowed": true}}'
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
        AND policies @> '{"house_rules": {"pets_allowed": true, "smoking_allowed": true}}'
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
