-- What restore_kept.sql and copy_kept.sql begin with: one transaction, and the order of migrations.
-- Kept rows have the shape of the migration that was taken back. A later one may change rows, and
-- would never see these.

\ir transaction.sql

DO $$
DECLARE
    kept text;
    later text;
BEGIN
    IF to_regclass('property_v2_kept.kept') IS NULL THEN
        RAISE EXCEPTION 'no tables are kept here'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    SELECT max(migration) INTO kept FROM property_v2_kept.kept;
    IF to_regclass('public._yoyo_migration') IS NOT NULL THEN
        SELECT string_agg(migration_id, ', ' ORDER BY migration_id)
        INTO later
        FROM public._yoyo_migration
        WHERE migration_id ~ '^\d{4}_property_v2' AND migration_id > kept;
    END IF;
    IF later IS NOT NULL THEN
        RAISE EXCEPTION 'the kept rows are from before later migrations: %', later
            USING ERRCODE = 'object_not_in_prerequisite_state',
                HINT = 'Nothing was changed. Take those back first (make rollback, for each), then '
                    'make restore-kept, then make migrate.';
    END IF;
END;
$$;
