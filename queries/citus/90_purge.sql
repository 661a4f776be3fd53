-- Purge on a Citus cluster, which takes no FOR UPDATE here: the age is asked twice instead, lest a
-- row goes that was restored meanwhile. One purge at a time; otherwise as 90 on one server.
-- Bind   the age, twice
DELETE FROM properties
WHERE
    deleted_at < current_timestamp - interval '90 days'
    AND id IN (
        SELECT id
        FROM properties
        WHERE deleted_at < current_timestamp - interval '90 days'
        ORDER BY deleted_at
        LIMIT 100
    );
