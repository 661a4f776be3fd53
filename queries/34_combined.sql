-- The search form with values that many have: two-bedroom condos for rent in Bangkok, with Wi-Fi,
-- from 10,000 to 30,000 baht.
-- Bind   every value
-- Index  idx_properties_listing or idx_properties_transaction_price
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
    AND rent_price BETWEEN 1000000 AND 3000000
    AND property_type = 'condo'
    AND physical_specs @> '{"rooms": {"bedrooms": 2}}'
    AND location_details @> '{"administrative": {"province_id": 10}}'
    AND amenities @> '{"interior": ["wifi"]}'
ORDER BY listing_priority DESC, created_at DESC, id DESC
LIMIT 24;
