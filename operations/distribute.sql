-- Brings Property V2 onto a Citus cluster: properties and their translations are spread over the
-- workers, the four other tables and users become reference tables, a copy on every node.
--
-- What it does   The two foreign keys to users are dropped, users is copied, then amenities and
--                policies, then properties with their translations; the keys come back, and the
--                coordinator's old rows go. Ids of translations become bigint. The reference
--                tables lose their triggers, and their defaults become now(). No row is changed
--                but those of a listing whose user is deleted meanwhile: it loses its author.
-- Locks          On users ACCESS EXCLUSIVE for milliseconds, where the keys are dropped and its old
--                rows go; EXCLUSIVE while it is copied; SHARE ROW EXCLUSIVE for each key that comes
--                back. Whoever holds users is waited for 120 ms. How long others waited:
--                docs/scaling.md. On each of the six for as long as its step takes: writes wait, of
--                properties reads go on, the others are read again afterwards.
-- Safe when      the application runs: each step is a transaction of its own, and a step that is
--                done already is left out, so that an interrupted run is simply run again.
-- Not safe when  there is no Citus or no worker, a table is distributed already in another way,
--                other tables refer to ours, or ours have further triggers: refused, with nothing
--                changed. Stop yoyo meanwhile, and use it through the coordinator only.
-- Run            psql -X -f operations/distribute.sql, on the coordinator, as the owner of the
--                seven tables. A server without TLS wants citus.node_conninfo = 'sslmode=disable'.
-- After          make state; the application sets updated_at of the reference tables.
-- Way back       docs/runbook.md, way back from a cluster
-- Proven by      its steps were measured on a cluster (docs/scaling.md), this file was not run
--                there. tests/test_distribute.py shows order, refusals and interruptions with
--                stand-ins for Citus, which is no proof of Citus.

\set ON_ERROR_STOP on
\set AUTOCOMMIT on
\set QUIET on
\set SHOW_CONTEXT never
\ir no_pooler.sql
\o /dev/null
SET application_name = 'distribute.sql';
SET client_min_messages = warning;
SET lock_timeout = '120ms';
SET statement_timeout = 0;

DO $$ -- what must be so before anything is changed
DECLARE
    -- In the order in which they are distributed, each step whole or not at all
    ours CONSTANT jsonb := '{
        "users": 1,
        "amenities": 2, "amenity_translations": 2, "policies": 2, "policy_translations": 2,
        "properties": 3, "property_translations": 3
    }';
    reason text := CASE
        WHEN transaction_timestamp() <> statement_timestamp()
            THEN 'each step is a transaction of its own: run this file without -1'
        WHEN current_schema() IS DISTINCT FROM 'public'
            THEN format(
                'the current schema is not public: ALTER ROLE %I SET search_path = public',
                current_user
            )
        WHEN to_regclass('pg_dist_partition') IS NULL
            THEN 'this database has no extension citus: run this file on the coordinator of a '
                'Citus cluster'
    END;
BEGIN
    IF current_setting('transaction_timeout', true) IS NOT NULL THEN -- PostgreSQL 17 and later
        PERFORM set_config('transaction_timeout', '0', false);
    END IF;
    IF reason IS NULL THEN
        WITH tables AS (
            SELECT
                o.name,
                o.step::integer AS step,
                c.oid,
                c.relowner,
                p.logicalrelid IS NULL AS is_local,
                CASE o.step
                    WHEN '3' THEN column_to_column_name(p.logicalrelid, p.partkey)
                        = CASE o.name WHEN 'properties' THEN 'id' ELSE 'property_id' END
                    ELSE p.partkey IS NULL AND p.repmodel = 't'
                END AS is_as_here
            FROM jsonb_each_text(ours) AS o (name, step)
            LEFT JOIN pg_class AS c ON to_regclass('public.' || o.name) = c.oid
            LEFT JOIN pg_dist_partition AS p ON c.oid = p.logicalrelid
        ),

        foreign_keys AS (
            SELECT
                k.conrelid::regclass AS referring,
                k.confrelid::regclass AS referred,
                f.is_local AND NOT t.is_local AS is_half_way,
                f.oid IS NULL OR t.oid IS NULL AS is_strange
            FROM pg_constraint AS k
            LEFT JOIN tables AS f ON k.conrelid = f.oid
            LEFT JOIN tables AS t ON k.confrelid = t.oid
            WHERE k.contype = 'f' AND (f.oid IS NOT NULL OR t.oid IS NOT NULL)
        )

        SELECT coalesce(
            (
                SELECT 'this is a worker: run this file on the coordinator'
                FROM pg_dist_local_group
                WHERE groupid <> 0
            ),
            CASE WHEN NOT EXISTS (
                SELECT FROM pg_dist_node
                WHERE groupid <> 0 AND isactive AND noderole = 'primary'
            ) THEN 'this cluster has no worker: add one first' END,
            (
                SELECT format('table %s is missing: apply the migration first', min(name))
                FROM tables WHERE oid IS NULL HAVING count(*) > 0
            ),
            (
                SELECT format('table %s is not yours: run this file as its owner', min(name))
                FROM tables WHERE NOT pg_has_role(relowner, 'USAGE') HAVING count(*) > 0
            ),
            (
                SELECT format('%s is distributed already, but not by this file', min(d.name))
                FROM tables AS d
                WHERE NOT d.is_local AND (
                    d.is_as_here IS NOT TRUE
                    OR EXISTS (SELECT FROM tables AS t WHERE t.is_local AND t.step <= d.step)
                    OR EXISTS (SELECT FROM foreign_keys WHERE is_half_way AND referred = d.oid)
                )
                HAVING count(*) > 0
            ),
            (
                SELECT format(
                    '%s refers to %s, which this file does not distribute together: drop that '
                    'foreign key first', min(referring::text), min(referred::text)
                )
                FROM foreign_keys WHERE is_strange HAVING count(*) > 0
            ),
            (
                SELECT format(
                    '%s has the trigger %s, which Citus does not take: drop it first',
                    min(t.name), min(g.tgname)
                )
                FROM tables AS t
                INNER JOIN pg_trigger AS g ON t.oid = g.tgrelid
                WHERE t.is_local AND NOT g.tgisinternal
                    AND g.tgname <> format('update_%s_updated_at', t.name)
                HAVING count(*) > 0
            )
        )
        INTO reason;
    END IF;
    IF reason IS NOT NULL THEN
        RAISE EXCEPTION '% (nothing was changed)', reason
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
END;
$$;

-- What an earlier run has left to do
WITH placed AS (
    SELECT
        count(*) FILTER (WHERE logicalrelid = 'users'::regclass) = 0 AS users_is_local,
        count(*) FILTER (WHERE logicalrelid = 'amenities'::regclass) = 0 AS references_are_local,
        count(*) FILTER (WHERE logicalrelid = 'properties'::regclass) = 0 AS properties_is_local
    FROM pg_dist_partition
),

keys AS (
    SELECT
        count(*) FILTER (WHERE conname = 'properties_created_by_fkey') AS created_by,
        count(*) FILTER (WHERE conname = 'properties_updated_by_fkey') AS updated_by,
        count(*) FILTER (WHERE convalidated) AS proven
    FROM pg_constraint
    WHERE
        conrelid = 'properties'::regclass
        AND conname IN ('properties_created_by_fkey', 'properties_updated_by_fkey')
)

SELECT
    c.users_is_local,
    c.references_are_local,
    c.properties_is_local,
    c.properties_is_local AND k.created_by + k.updated_by > 0 AS keys_are_in_the_way,
    c.properties_is_local OR k.created_by = 0 AS created_by_is_free,
    c.properties_is_local OR k.updated_by = 0 AS updated_by_is_free,
    c.properties_is_local OR k.proven < 2 AS keys_are_not_proven,
    a.atttypid = 'integer'::regtype AS ids_are_short,
    pg_relation_size('users') + pg_relation_size('amenities')
    + pg_relation_size('policies') + pg_relation_size('properties') > 0 AS old_rows_are_there
FROM pg_attribute AS a
CROSS JOIN placed AS c
CROSS JOIN keys AS k
WHERE a.attrelid = 'property_translations'::regclass AND a.attname = 'id'
\gset

-- A step that locks users is one statement, and psql goes on to this whatever became of it.
CREATE FUNCTION pg_temp.go_on_after(sqlstate text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF sqlstate <> '00000' THEN
        RAISE EXCEPTION 'this step was not done, and nothing after it: run this file again, it '
            'goes on from here';
    END IF;
END;
$$;


------------------------------------------------------------------------------------------------
-- users, without its foreign keys: else its readers wait until the tables that refer to it are done
------------------------------------------------------------------------------------------------

\if :keys_are_in_the_way
\echo 'users: the two foreign keys to it are dropped'
\set ON_ERROR_STOP off
ALTER TABLE properties
DROP CONSTRAINT IF EXISTS properties_created_by_fkey,
DROP CONSTRAINT IF EXISTS properties_updated_by_fkey;
\set ON_ERROR_STOP on
SELECT pg_temp.go_on_after(:'LAST_ERROR_SQLSTATE');
\endif

-- CURRENT_TIMESTAMP is each node's own clock, also on INSERT; now() is the same on all of them.
\set ON_ERROR_STOP off
SELECT format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT now()', d.adrelid::regclass, a.attname)
FROM pg_attrdef AS d
INNER JOIN pg_attribute AS a ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE
    d.adrelid IN (
        'amenities'::regclass, 'amenity_translations'::regclass,
        'policies'::regclass, 'policy_translations'::regclass, 'users'::regclass
    )
    AND pg_get_expr(d.adbin, d.adrelid) = 'CURRENT_TIMESTAMP'
ORDER BY d.adrelid::regclass::text, a.attname
\gexec
\set ON_ERROR_STOP on
SELECT pg_temp.go_on_after(:'LAST_ERROR_SQLSTATE');

\if :users_is_local
\echo 'users: a copy on every node'
\set ON_ERROR_STOP off
SELECT create_reference_table('users');
\set ON_ERROR_STOP on
SELECT pg_temp.go_on_after(:'LAST_ERROR_SQLSTATE');
\endif

------------------------------------------------------------------------------------------------
-- amenities and policies. A trigger would run on each node, by its own clock.
------------------------------------------------------------------------------------------------

\if :references_are_local
\echo 'amenities, policies and their translations: a copy on every node'
BEGIN;
SET LOCAL lock_timeout = '2s';
-- Else they become Citus local tables on the way, and lose the comments of their columns.
SELECT 'SET LOCAL citus.enable_local_reference_table_foreign_keys = off'
\gexec
DROP TRIGGER update_amenities_updated_at ON amenities;
DROP TRIGGER update_amenity_translations_updated_at ON amenity_translations;
DROP TRIGGER update_policies_updated_at ON policies;
DROP TRIGGER update_policy_translations_updated_at ON policy_translations;
-- Only a bigint gets its number from any node, and cannot become one afterwards.
ALTER TABLE amenity_translations ALTER COLUMN id TYPE bigint;
ALTER TABLE policy_translations ALTER COLUMN id TYPE bigint;
SELECT create_reference_table('amenities');
SELECT create_reference_table('amenity_translations');
SELECT create_reference_table('policies');
SELECT create_reference_table('policy_translations');
COMMIT;
\endif

------------------------------------------------------------------------------------------------
-- properties and their translations, side by side: both triggers stay, and touch their own row
------------------------------------------------------------------------------------------------

\if :ids_are_short
\echo 'property_translations: a primary key with property_id'
BEGIN;
SET LOCAL lock_timeout = '2s';
ALTER TABLE property_translations
ALTER COLUMN id TYPE bigint,
DROP CONSTRAINT property_translations_pkey,
ADD CONSTRAINT property_translations_pkey PRIMARY KEY (property_id, id);
COMMIT;
\endif

\if :properties_is_local
\echo 'properties and property_translations: spread over the workers'
BEGIN;
SET LOCAL lock_timeout = '2s';
SELECT 'SET LOCAL citus.enable_unsafe_triggers = on'
\gexec
SELECT create_distributed_table('properties', 'id');
SELECT create_distributed_table(
    'property_translations', 'property_id', colocate_with => 'properties'
);
COMMIT;
\endif

------------------------------------------------------------------------------------------------
-- The foreign keys to users again
------------------------------------------------------------------------------------------------

\if :created_by_is_free
\set column created_by
\ir distribute.foreign_key.sql
\endif

\if :updated_by_is_free
\set column updated_by
\ir distribute.foreign_key.sql
\endif

\if :keys_are_not_proven
\echo 'properties: authors who were deleted meanwhile, and proof of both foreign keys'
SET lock_timeout = '2s';
UPDATE properties SET created_by = NULL
WHERE
    created_by IS NOT NULL
    AND NOT EXISTS (
        SELECT FROM users AS u
        WHERE u.id = properties.created_by
    );
UPDATE properties SET updated_by = NULL
WHERE
    updated_by IS NOT NULL
    AND NOT EXISTS (
        SELECT FROM users AS u
        WHERE u.id = properties.updated_by
    );
ALTER TABLE properties VALIDATE CONSTRAINT properties_created_by_fkey;
ALTER TABLE properties VALIDATE CONSTRAINT properties_updated_by_fkey;
SET lock_timeout = '120ms';
\endif

------------------------------------------------------------------------------------------------
-- The old rows on the coordinator, which nobody sees any more
------------------------------------------------------------------------------------------------

\if :old_rows_are_there
\echo 'the old rows on the coordinator: truncated'
SELECT truncate_local_data_after_distributing_table('amenities');
SELECT truncate_local_data_after_distributing_table('policies');
\set ON_ERROR_STOP off
SELECT truncate_local_data_after_distributing_table('users');
\set ON_ERROR_STOP on
SELECT pg_temp.go_on_after(:'LAST_ERROR_SQLSTATE');
\endif

\echo 'done: Property V2 and users are on the cluster'
