-- Last third of an import: authors who are gone, triggers and keys as before, and proof that all
-- rows came.
-- What it locks and how it is run stands in import_data.before.sql.

-- pg_restore had set both anew
SET LOCAL search_path = public;
SET LOCAL idle_in_transaction_session_timeout = '10s';

\o
-- As ON DELETE SET NULL would have left them, had they been here. One pass with a look at users for
-- each row: the planner knows nothing of rows that have just come, and may join them badly.
WITH without_author AS (
    UPDATE properties
    SET
        created_by = (
            SELECT users.id FROM users
            WHERE users.id = properties.created_by
        ),
        updated_by = (
            SELECT users.id FROM users
            WHERE users.id = properties.updated_by
        )
    WHERE
        created_by IS NOT NULL
        AND NOT EXISTS (
            SELECT FROM users
            WHERE users.id = properties.created_by
        )
        OR updated_by IS NOT NULL
        AND NOT EXISTS (
            SELECT FROM users
            WHERE users.id = properties.updated_by
        )
    RETURNING properties.id
)

SELECT
    to_char(count(*), 'FM999,999,999,990')
    || ' properties came without an author, whose user is gone.' AS properties
FROM without_author
HAVING count(*) > 0;

SET CONSTRAINTS ALL IMMEDIATE;

-- The dump may have ended early: only what was exported, to the row, is committed. A sequence that
-- stood below an id, since that was written by hand, goes on behind it.
DO $$
DECLARE
    expected record;
    serial name;
    row_count bigint;
BEGIN
    EXECUTE current_setting('property_v2.after_import');
    FOR expected IN
        SELECT * FROM jsonb_each_text(current_setting('property_v2.row_counts')::jsonb) AS e (t, n)
    LOOP
        EXECUTE format('SELECT count(*) FROM %I', expected.t) INTO row_count;
        IF row_count <> expected.n::bigint THEN
            RAISE EXCEPTION 'only % of % rows of % came', row_count, expected.n, expected.t
                USING HINT = 'Nothing was imported: the export is incomplete.';
        END IF;
        FOR serial IN
            SELECT attname FROM pg_attribute
            WHERE attrelid = expected.t::regclass AND attnum > 0 AND NOT attisdropped
                AND pg_get_serial_sequence(quote_ident(expected.t), attname) IS NOT NULL
        LOOP
            EXECUTE format(
                'SELECT setval(%1$L, m.highest) FROM (SELECT max(%2$I) AS highest FROM %3$I) AS m '
                'WHERE m.highest >= (SELECT last_value + is_called::integer FROM %4$s)',
                pg_get_serial_sequence(quote_ident(expected.t), serial), serial, expected.t,
                pg_get_serial_sequence(quote_ident(expected.t), serial)
            );
        END LOOP;
        EXECUTE format('ANALYZE %I', expected.t);
    END LOOP;
END;
$$;
