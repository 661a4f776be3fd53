-- Filter by district on a Citus cluster: plainly. In the form for one server every shard would send
-- its top 3,000 to the coordinator.
-- Bind   the document
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
    AND location_details @> '{"administrative": {"district_id": 1039}}'
ORDER BY listing_priority DESC, created_at DESC, id DESC
LIMIT 24;
