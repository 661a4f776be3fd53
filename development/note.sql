-- Notes in the temporary table made what the migration just applied has made, and beside what was
-- noted before, that it took it away or replaced it. The temporary table present is the catalog of
-- validate/10_objects.sql; what the application had before stands in made without a migration.
WITH latest AS (
    SELECT max(migration_id) AS migration
    FROM _yoyo_migration
),

-- What is as it was. A table of the application's may have more in it than we know.
same AS (
    SELECT
        m.kind,
        m.name
    FROM made AS m
    INNER JOIN present AS p ON m.kind = p.kind AND m.name = p.name
    WHERE
        m.removed_by IS NULL
        AND (m.definition = p.definition OR m.migration IS NULL AND m.kind = 'table')
),

removed AS (
    UPDATE made SET removed_by = latest.migration
    FROM latest
    WHERE
        made.removed_by IS NULL AND (made.kind, made.name) NOT IN (
            SELECT
                same.kind,
                same.name
            FROM same
        )
)

INSERT INTO made (migration, kind, name, definition)
SELECT
    latest.migration,
    p.kind,
    p.name,
    p.definition
FROM latest
CROSS JOIN present AS p
WHERE
    (p.kind, p.name) NOT IN (
        SELECT
            same.kind,
            same.name
        FROM same
    );
