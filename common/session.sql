-- How every connection of ours begins: nobody's own small limit may break a check, and no check
-- waits long for a lock. Not every server knows all of these limits.
SELECT set_config(s.name, s.value, FALSE)
FROM (
    VALUES
    ('lock_timeout', '5s'),
    ('statement_timeout', '0'),
    ('transaction_timeout', '0'),
    ('idle_session_timeout', '0'),
    -- A client that fell silent in a transaction is given up.
    ('idle_in_transaction_session_timeout', '60s')
) AS s (name, value)
WHERE current_setting(s.name, TRUE) IS NOT NULL;
