-- The exact count of what many have: reads them all.
SELECT count(*)
FROM properties
WHERE
    is_published = TRUE AND deleted_at IS NULL
    AND location_details @> '{"administrative": {"province_id": 10}}'
    AND amenities @> '{"interior": ["wifi"]}';
