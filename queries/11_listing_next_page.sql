-- Any later page: what comes after the last listing shown, as fast at any depth. In two arms, since
-- the planner judges a row comparison by its first column alone: see the anti-pattern.
-- Bind   listing_priority (twice), created_at and id of the last listing shown; created_at to the
--        microsecond, as text: a JavaScript Date cuts it to milliseconds, and whatever else was
--        created in that millisecond is never shown
-- Index  idx_properties_listing
-- Limit  50 ms
WITH same_priority AS MATERIALIZED (
    SELECT id
    FROM properties
    WHERE
        is_published = TRUE AND deleted_at IS NULL
        AND listing_priority = 0
        AND (created_at, id) < ('2024-12-01 12:00+07', 'ffffffff-ffff-ffff-ffff-ffffffffffff')
    ORDER BY created_at DESC, id DESC
    LIMIT 24
),

lower_priority AS MATERIALIZED (
    SELECT id
    FROM properties
    WHERE
        is_published = TRUE AND deleted_at IS NULL
        AND listing_priority < 0
    ORDER BY listing_priority DESC, created_at DESC, id DESC
    LIMIT 24
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
WHERE
    id IN (
        SELECT s.id FROM same_priority AS s
        UNION ALL
        SELECT l.id FROM lower_priority AS l
    )
ORDER BY listing_priority DESC, created_at DESC, id DESC
LIMIT 24;
