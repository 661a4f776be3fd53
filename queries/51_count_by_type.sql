-- Exact count by property type, from the index alone too.
-- Bind   property_type
-- Index  idx_properties_type
-- Limit  50 ms
SELECT count(*)
FROM properties
WHERE
    is_published = TRUE AND deleted_at IS NULL
    AND property_type = 'villa';
