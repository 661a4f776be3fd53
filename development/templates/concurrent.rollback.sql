-- transactional: false
-- ...
--
-- What it does   ...
-- Locks          SHARE UPDATE EXCLUSIVE on the table: reads and writes go on. It waits for the
--                transactions that were open before, and nobody waits for it.
-- Safe when      ...
-- Not safe when  ...
-- After          python -m validation validate
-- Proven by      tests/test_migrations.py

-- It waits for others, nobody waits for it: a limit would only leave an invalid index.
SET lock_timeout = 0;
SET statement_timeout = 0;
SET application_name = '{name}.rollback';

-- DROP INDEX CONCURRENTLY IF EXISTS ...: all of them, in reverse order
