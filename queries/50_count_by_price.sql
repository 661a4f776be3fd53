-- Exact count by type and price: the index alone answers, without the table, as long as
-- VACUUM keeps up.
-- Bind   transaction_type, both prices
-- Index  idx_properties_transaction_price
-- Limit  50 ms
SELECT count(*)
FROM properties
WHERE
    is_published = TRUE AND deleted_at IS NULL
    AND transaction_type = 'rent'
    AND rent_price BETWEEN 1000000 AND 2000000;
