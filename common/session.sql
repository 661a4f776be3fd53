-- How every connection of ours begins: nobody's own small limit may break a check, no check waits
-- long for a lock, and SQL is read and values are written in one way, whatever role, database or
-- shell say. Not every server knows all of them.
SELECT set_config(s.name, s.value, FALSE)
FROM (
    VALUES
    ('lock_timeout', '5s'),
    ('statement_timeout', '0'),
    ('transaction_timeout', '0'),
    ('idle_session_timeout', '0'),
    -- A client that fell silent in a transaction is given up, and one whose line is lost.
    ('idle_in_transaction_session_timeout', '60s'),
    ('tcp_keepalives_idle', '5'),
    ('tcp_keepalives_interval', '2'),
    ('tcp_keepalives_count', '3'),
    ('tcp_user_timeout', '11s'),
    ('standard_conforming_strings', 'on'),
    ('quote_all_identifiers', 'off'),
    ('datestyle', 'ISO, YMD'),
    ('intervalstyle', 'postgres'),
    ('extra_float_digits', '1'),
    ('bytea_output', 'hex')
) AS s (name, value)
WHERE current_setting(s.name, TRUE) IS NOT NULL;

-- Without these, every statement of ours would end in the same refusal.
SELECT
    format(
        '%1$s may not use the %2$s. As its owner: GRANT USAGE ON %3$s TO %1$I;',
        current_user, lower(w.what), w.what
    ) AS refusal
FROM (
    SELECT 'SCHEMA public' AS what
    FROM pg_namespace
    WHERE nspname = 'public' AND NOT has_schema_privilege(oid, 'USAGE')
    UNION ALL
    SELECT 'LANGUAGE plpgsql' AS what
    FROM pg_language
    WHERE lanname = 'plpgsql' AND NOT has_language_privilege(oid, 'USAGE')
) AS w;
