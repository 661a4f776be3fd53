-- What psql runs first in a command of ours: it stops where its session is on another database than
-- that which was reached before, of the system and the database that it is given (-v).
SELECT system_identifier::text <> :'system' OR current_database() <> :'database' AS is_another
FROM pg_control_system()
\gset

\if :is_another
DO $$ BEGIN RAISE EXCEPTION 'it reaches another database'; END; $$;
\endif
