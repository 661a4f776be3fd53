-- Last third of an import: authors who are gone, keys and indexes, and proof that all rows came.
-- What it locks and how it is run stands in import_data.before.sql.

SET LOCAL search_path = public; -- pg_restore had emptied it

-- As ON DELETE SET NULL would have left them, had they been here
WITH orphans AS (
    SELECT
        p.id,
        creator.id AS creator_id,
        updater.id AS updater_id
    FROM properties AS p
    LEFT JOIN users AS creator ON p.created_by = creator.id
    LEFT JOIN users AS updater ON p.updated_by = updater.id
    WHERE p.created_by <> coalesce(creator.id, -1) OR p.updated_by <> coalesce(updater.id, -1)
),

without_author AS (
    UPDATE properties AS p
    SET
        created_by = orphans.creator_id,
        updated_by = orphans.updater_id
    FROM orphans
    WHERE p.id = orphans.id
    RETURNING p.id
)

SELECT 'without author: ' || count(*) AS properties FROM without_author;

SET CONSTRAINTS ALL IMMEDIATE;

ALTER TABLE properties
ALTER CONSTRAINT properties_created_by_fkey NOT DEFERRABLE,
ALTER CONSTRAINT properties_updated_by_fkey NOT DEFERRABLE,
ENABLE TRIGGER update_properties_updated_at;

DO $$
DECLARE
    make_it text;
BEGIN
    FOR make_it IN SELECT r.make_it FROM rebuild AS r ORDER BY r.turn DESC LOOP
        EXECUTE make_it;
    END LOOP;
END;
$$;

-- The dump may have ended early: only what was exported, to the row, is committed.
SELECT set_config('property_v2.row_counts', :'counts', TRUE) IS NOT NULL AS counted;

DO $$
DECLARE
    expected record;
    row_count bigint;
    next_id bigint;
    max_id bigint;
BEGIN
    FOR expected IN
        SELECT * FROM jsonb_each_text(current_setting('property_v2.row_counts')::jsonb) AS e (t, n)
    LOOP
        EXECUTE format('SELECT count(*) FROM %I', expected.t) INTO row_count;
        IF row_count <> expected.n::bigint THEN
            RAISE EXCEPTION 'only % of % rows of % came', row_count, expected.n, expected.t
                USING HINT = 'Nothing was imported: the export is incomplete.';
        END IF;
        IF expected.t LIKE '%translations' THEN
            EXECUTE format('SELECT max(id) FROM %I', expected.t) INTO max_id;
            EXECUTE format(
                'SELECT last_value + is_called::integer FROM %I', expected.t || '_id_seq'
            ) INTO next_id;
            IF max_id >= next_id THEN
                RAISE EXCEPTION 'the sequence of %.id stands at %, below %',
                    expected.t, next_id, max_id;
            END IF;
        END IF;
    END LOOP;
END;
$$;

ANALYZE amenities, amenity_translations, policies, policy_translations, properties,
property_translations;
