-- Exact count of what is rare: as cheap as its page, and in its form.
-- Bind   the document
-- Index  idx_properties_location_details
-- Limit  50 ms
WITH found AS MATERIALIZED (
    SELECT
        is_published,
        deleted_at
    FROM properties
    WHERE location_details @> '{"administrative": {"province_id": 85}}'
)

SELECT count(*)
FROM found
WHERE is_published = TRUE AND deleted_at IS NULL;
