-- The search form on a Citus cluster: plainly, as 30. On one server it is an anti-pattern.
-- Bind   every value
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
    AND property_type = 'apartment'
    AND physical_specs @> '{"rooms": {"bedrooms": 5}}'
ORDER BY listing_priority DESC, created_at DESC, id DESC
LIMIT 24;
