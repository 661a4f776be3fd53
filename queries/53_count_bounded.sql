-- Bounded count of anything else: up to 1,000, then "more than 1,000". The ORDER BY leads down the
-- listing, which ends as soon as there are enough.
-- Bind   every value
-- Index  idx_properties_listing or idx_properties_location_details or idx_properties_amenities
-- Limit  50 ms
SELECT count(*)
FROM (
    SELECT id
    FROM properties
    WHERE
        is_published = TRUE AND deleted_at IS NULL
        AND location_details @> '{"administrative": {"province_id": 10}}'
        AND amenities @> '{"interior": ["wifi"]}'
    ORDER BY listing_priority DESC, created_at DESC
    LIMIT 1001
) AS found;
