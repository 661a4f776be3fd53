-- What a file begins with that sets something for its session: it must be one's own.
--
-- A pooler would keep lock and settings in a session that others get. It refuses or drops a startup
-- parameter that it does not know: by geqo, which changes nothing here, the server tells whether it
-- started this very session for psql.
\setenv PGGEQO on
\connect

DO $$
BEGIN
    IF (SELECT source FROM pg_settings WHERE name = 'geqo') <> 'client' THEN
        RAISE EXCEPTION 'A connection pooler answers here'
            USING HINT = 'Connect to the server itself, by its own host and port.';
    END IF;
END;
$$;
