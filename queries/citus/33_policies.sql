-- Filter by policies on a Citus cluster: plainly, as 30.
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
    AND policies @> '{"house_rules": {"pets_allowed": true, "smoking_allowed": true}}'
ORDER BY listing_priority DESC, created_at DESC, id DESC
LIMIT 24;
