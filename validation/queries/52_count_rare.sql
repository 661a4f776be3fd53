-- Exact count of what is rare: as cheap as its page.
-- Bind   the document
-- Index  idx_properties_location_details
-- Limit  50 ms
SELECT count(*)
FROM properties
WHERE
    is_published = TRUE AND deleted_at IS NULL
    AND location_details @> '{"administrative": {"province_id": 85}}';
