-- What the commands say on a Citus cluster with our tables, and whether they can run there; through
-- a worker none can. Not for a server without Citus, which has no pg_dist_partition.
SELECT
    s.about,
    s.can_run,
    s.said
FROM pg_dist_local_group AS node
CROSS JOIN (
    VALUES
    (
        'worker', FALSE,
        'This is a worker of a Citus cluster, which cannot tell what is applied: ask the '
        'coordinator.'
    ),
    (
        'validate', FALSE,
        'This is a Citus cluster, whose tables differ from the specification by design and whose '
        'errors name no constraint: state tells what is applied, validate only on one server.'
    ),
    (
        'monitor', TRUE,
        'This is a Citus cluster: translations are counted rightly; sizes and the use of rows and '
        'indexes are left out, since the coordinator knows only its own empty tables.'
    ),
    (
        'queries', TRUE,
        'This is a Citus cluster: the times are right; no index is judged, since its plans name '
        'none.'
    ),
    (
        'export_data', TRUE,
        'This is a Citus cluster, where an export is not one snapshot: what is written meanwhile '
        'may be in it, so stop the application first.'
    ),
    (
        'backup_db', TRUE,
        'This is a Citus cluster, where a dump is not one snapshot, and restores as plain tables.'
    ),
    (
        'import_data', FALSE,
        'This is a Citus cluster, which cannot put off foreign keys as an import does: '
        'pg_restore --data-only works.'
    ),
    (
        'rollback', FALSE,
        'This is a Citus cluster, where tables were never set aside: see "Way back from a cluster" '
        'in docs/runbook.md.'
    )
) AS s (about, can_run, said)
WHERE
    CASE s.about
        WHEN 'worker' THEN node.groupid <> 0
        ELSE EXISTS (
            SELECT FROM pg_dist_partition AS p
            WHERE p.logicalrelid IN (to_regclass('public.users'), to_regclass('public.properties'))
        )
    END;
