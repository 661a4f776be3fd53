-- Purge of what was deleted more than 90 days ago, 100 at a time, each time in a transaction of its
-- own, until it deletes none. The translations go too, by idx_property_translations_lookup.
-- Bind   the age
-- Index  idx_properties_deleted_at
-- Limit  50 ms
DELETE FROM properties
WHERE
    id IN (
        SELECT id
        FROM properties
        WHERE deleted_at < current_timestamp - interval '90 days'
        ORDER BY deleted_at
        LIMIT 100
        FOR UPDATE SKIP LOCKED
    );
