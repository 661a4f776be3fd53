-- The search form with a value that few have: duplex villas for rent in Phuket from
-- 50,000 to 150,000 baht, with a pool, pets allowed.
-- Bind   every value
-- Index  idx_properties_tags or idx_properties_listing
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
    AND transaction_type = 'rent'
    AND rent_price BETWEEN 5000000 AND 15000000
    AND property_type = 'villa'
    AND location_details @> '{"administrative": {"province_id": 83}}'
    AND amenities @> '{"exterior": ["pool"]}'
    AND policies @> '{"house_rules": {"pets_allowed": true}}'
    AND tags @> ARRAY['duplex']
ORDER BY listing_priority DESC, created_at DESC, id DESC
LIMIT 24;
