-- What psql runs first in a command of ours: it stops where its session is on another database than
-- that which was reached before, whose system_identifier and name (database) it is given by -v.
SELECT
    system_identifier::text <> :'system_identifier'
    OR current_database() <> :'database' AS is_another
FROM pg_control_system()
\gset

\if :is_another
DO $$ BEGIN RAISE EXCEPTION 'it reaches another database'; END; $$;
\endif
