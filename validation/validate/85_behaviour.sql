-- What the schema does with rows: each rule against a change that breaks it, the insert of the
-- specification, cascades, updated_at, soft delete, translations with their fallback.
-- All of it happens in subtransactions that are undone, with ids that take no sequence value.
SET LOCAL statement_timeout = '10s'; -- the deletion of a user may set off anything

DO $do$
DECLARE
    property CONSTANT text := '''a8f2d1c9-b4e3-4000-8000-000000000001''';
    setup CONSTANT text := $$
        INSERT INTO amenities (id, category, updated_at) VALUES ('~', 'interior', 'epoch');
        INSERT INTO amenity_translations (id, amenity_id, locale, name, updated_at)
        VALUES (-1, '~', 'en', '', 'epoch');
        INSERT INTO policies (id, category, data_type, updated_at)
        VALUES ('~', 'payment', 'text', 'epoch');
        INSERT INTO policy_translations (id, policy_id, locale, name, updated_at)
        VALUES (-1, '~', 'en', '', 'epoch');
        INSERT INTO properties (
            id, title, description, transaction_type, property_type, rent_price, is_published,
            updated_at
        ) VALUES (:property, 'column', '', 'rent', 'villa', 1, true, 'epoch');
        INSERT INTO property_translations (id, property_id, locale, field, value, updated_at)
        VALUES (-1, :property, 'en', 'title', 'en', 'epoch'),
        (-2, :property, 'th', 'title', 'th', 'epoch')
    $$;
    -- A user may have columns that only the application knows: fill in what must not be null.
    new_user CONSTANT text := (
        SELECT format(
            'INSERT INTO users (%s) OVERRIDING SYSTEM VALUE VALUES (%s);',
            string_agg(quote_ident(a.attname), ', '),
            string_agg(CASE
                WHEN a.attname = 'id' THEN '-1'
                WHEN t.typcategory = 'S' THEN format(
                    '''validation@example.com''::varchar(%s)',
                    CASE WHEN a.atttypmod > 4 THEN a.atttypmod - 4 ELSE 22 END
                )
                WHEN t.typcategory = 'N' THEN '0'
                WHEN t.typcategory = 'B' THEN 'false'
                WHEN t.typcategory = 'D' THEN 'now()'
                WHEN t.typcategory = 'E' THEN format('enum_first(NULL::%s)', t.oid::regtype)
                WHEN t.typname = 'uuid' THEN 'gen_random_uuid()'
                ELSE '''{}'''
            END, ', ')
        )
        FROM pg_attribute AS a
        INNER JOIN pg_type AS t ON a.atttypid = t.oid
        WHERE a.attrelid = to_regclass('public.users') AND a.attnum > 0 AND NOT a.attisdropped
            AND (a.attname = 'id' OR a.attnotnull AND NOT a.atthasdef AND a.attidentity = '')
    );
    -- The title for a reader in Thai: in Thai, else in English, else as the property has it.
    shown CONSTANT text := $$(
        SELECT coalesce(th.value, en.value, p.title)
        FROM properties AS p
        LEFT JOIN property_translations AS th
            ON p.id = th.property_id AND th.field = 'title' AND th.locale = 'th'
        LEFT JOIN property_translations AS en
            ON p.id = en.property_id AND en.field = 'title' AND en.locale = 'en'
        WHERE p.id = :property AND p.is_published AND p.deleted_at IS NULL
    )$$;
    attempt record;
    is_of_users boolean; -- where the application has its say
    holds boolean;
    outcome text;
    error_code text;
    culprit text;
    results jsonb := '[]';
BEGIN
    PERFORM set_config(
        'search_path', concat_ws(',', 'public', nullif(current_setting('search_path'), '')), true
    );
    BEGIN
        IF current_setting('transaction_read_only')::boolean THEN
            RAISE EXCEPTION 'this database is read-only: run it on the primary'
                USING ERRCODE = 'read_only_sql_transaction';
        END IF;
        EXECUTE replace(setup, ':property', property);
        FOR attempt IN
            -- An UPDATE, and the constraint that must reject it
            SELECT
                table_name || ': ' || change AS name,
                format('UPDATE %s SET %s WHERE id = %s', table_name, change, CASE
                    WHEN table_name LIKE '%translations' THEN '-1'
                    WHEN table_name = 'properties' THEN property
                    ELSE '''~'''
                END) AS statement,
                'rejected by ' || rejected_by AS expected,
                NULL AS query
            FROM (VALUES
                ('amenities', $$category = 'roof'$$, 'valid_amenity_category'),
                ('amenity_translations', $$locale = 'EN'$$, 'valid_locale_amenity'),
                ('amenity_translations', $$amenity_id = 'none'$$,
                    'amenity_translations_amenity_id_fkey'),
                ('policies', $$category = 'roof'$$, 'valid_policy_category'),
                ('policies', $$data_type = 'json'$$, 'valid_policy_data_type'),
                ('policy_translations', $$locale = 'EN'$$, 'valid_locale_policy'),
                ('policy_translations', $$policy_id = 'none'$$,
                    'policy_translations_policy_id_fkey'),
                ('properties', 'title = NULL', 'title'),
                ('properties', $$transaction_type = 'swap', sale_price = 1, lease_price = 1$$,
                    'valid_price_for_transaction'),
                ('properties', $$property_type = 'castle'$$, 'valid_property_type'),
                ('properties', $$currency = 'CHF'$$, 'valid_currency'),
                ('properties', 'rent_price = NULL', 'valid_price_for_transaction'),
                ('properties', $$transaction_type = 'sale'$$, 'valid_price_for_transaction'),
                ('properties', $$transaction_type = 'lease'$$, 'valid_price_for_transaction'),
                ('properties', 'rent_price = 0', 'positive_prices'),
                ('properties', 'sale_price = 0', 'positive_prices'),
                ('properties', 'lease_price = 0', 'positive_prices'),
                ('properties', 'listing_priority = -1', 'valid_priority'),
                ('properties', 'listing_priority = 1000', 'valid_priority'),
                ('properties', 'created_by = -1', 'properties_created_by_fkey'),
                ('properties', 'updated_by = -1', 'properties_updated_by_fkey'),
                ('property_translations', $$locale = 'EN'$$, 'valid_locale'),
                ('property_translations', $$field = 'colour'$$, 'valid_field'),
                ('property_translations', $$locale = 'th'$$, 'unique_translation'),
                ('property_translations', 'property_id = gen_random_uuid()',
                    'property_translations_property_id_fkey')
            ) AS v (table_name, change, rejected_by)
            UNION ALL
            -- A statement, and a query that must be true after it
            SELECT name, statement, 'so', query
            FROM (VALUES
                ('the insert of the specification', $$
                    INSERT INTO properties (
                        title, description, transaction_type, property_type, rent_price, currency
                    ) VALUES ('Test Villa', 'Test description', 'rent', 'villa', 3000000, 'THB')
                $$, 'SELECT true'),
                ('a second translation into the same language is rejected', $$
                    INSERT INTO amenity_translations (id, amenity_id, locale, name)
                    VALUES (-2, '~', 'en', '') ON CONFLICT DO NOTHING;
                    INSERT INTO policy_translations (id, policy_id, locale, name)
                    VALUES (-2, '~', 'en', '') ON CONFLICT DO NOTHING
                $$, $$
                    SELECT (SELECT count(*) FROM amenity_translations WHERE amenity_id = '~') = 1
                    AND (SELECT count(*) FROM policy_translations WHERE policy_id = '~') = 1
                $$),
                ('the deletion of a user empties the author of a property',
                    new_user || 'UPDATE properties SET created_by = -1, updated_by = -1 '
                    'WHERE id = :property; DELETE FROM users WHERE id = -1', $$
                    SELECT CASE
                        WHEN NOT EXISTS (SELECT FROM users WHERE id = -1)
                            THEN created_by IS NULL AND updated_by IS NULL
                    END
                    FROM properties WHERE id = :property
                $$),
                ('translations go with their amenity', $$DELETE FROM amenities WHERE id = '~'$$,
                    'SELECT NOT EXISTS (SELECT FROM amenity_translations WHERE id = -1)'),
                ('translations go with their policy', $$DELETE FROM policies WHERE id = '~'$$,
                    'SELECT NOT EXISTS (SELECT FROM policy_translations WHERE id = -1)'),
                ('translations go with their property',
                    'DELETE FROM properties WHERE id = :property',
                    'SELECT NOT EXISTS (SELECT FROM property_translations WHERE id < 0)'),
                ('updated_at moves on every table', $$
                    UPDATE amenities SET updated_at = 'epoch' WHERE id = '~';
                    UPDATE amenity_translations SET updated_at = 'epoch' WHERE id = -1;
                    UPDATE policies SET updated_at = 'epoch' WHERE id = '~';
                    UPDATE policy_translations SET updated_at = 'epoch' WHERE id = -1;
                    UPDATE properties SET updated_at = 'epoch' WHERE id = :property;
                    UPDATE property_translations SET updated_at = 'epoch' WHERE id = -1
                $$, $$
                    SELECT min(updated_at) = now() FROM (
                        SELECT updated_at FROM amenities WHERE id = '~'
                        UNION ALL SELECT updated_at FROM amenity_translations WHERE id = -1
                        UNION ALL SELECT updated_at FROM policies WHERE id = '~'
                        UNION ALL SELECT updated_at FROM policy_translations WHERE id = -1
                        UNION ALL SELECT updated_at FROM properties WHERE id = :property
                        UNION ALL SELECT updated_at FROM property_translations WHERE id = -1
                    ) AS t
                $$),
                ('a title is shown in the wanted language', 'SELECT', $$SELECT :shown = 'th'$$),
                ('it falls back to English', 'DELETE FROM property_translations WHERE id = -2',
                    $$SELECT :shown = 'en'$$),
                ('it falls back to the column', 'DELETE FROM property_translations WHERE id < 0',
                    $$SELECT :shown = 'column'$$),
                ('a soft delete hides the property',
                    'UPDATE properties SET deleted_at = now() WHERE id = :property',
                    'SELECT :shown IS NULL')
            ) AS v (name, statement, query)
        LOOP
            is_of_users := attempt.name LIKE 'the deletion of a user %';
            BEGIN
                EXECUTE replace(attempt.statement, ':property', property);
                outcome := 'accepted';
                IF attempt.query IS NOT NULL THEN
                    EXECUTE replace(
                        replace(attempt.query, ':shown', shown), ':property', property
                    ) INTO holds;
                    outcome := CASE
                        WHEN holds THEN 'so'
                        WHEN holds IS NULL AND is_of_users THEN 'a deleted user who stays'
                        ELSE 'not so'
                    END;
                END IF;
                RAISE EXCEPTION 'undo' USING ERRCODE = 'PV200';
            EXCEPTION WHEN OTHERS OR query_canceled THEN
                GET STACKED DIAGNOSTICS
                    error_code = RETURNED_SQLSTATE, culprit = CONSTRAINT_NAME;
                IF culprit = '' THEN
                    GET STACKED DIAGNOSTICS culprit = COLUMN_NAME;
                END IF;
                IF error_code = '57014' THEN
                    outcome := 'no end after 10 s; what else refers to users, without an index?';
                ELSIF error_code <> 'PV200' THEN
                    outcome := 'rejected by ' || coalesce(nullif(culprit, ''), SQLERRM);
                END IF;
            END;
            results := results || jsonb_build_object(
                'status', CASE
                    WHEN outcome = attempt.expected THEN 'pass'
                    -- The application may forbid such a user or the deletion; the foreign key is
                    -- compared anyway.
                    WHEN is_of_users AND outcome <> 'not so' THEN 'warn'
                    ELSE 'fail'
                END,
                'found', attempt.name || ': ' || CASE
                    WHEN outcome = attempt.expected THEN outcome
                    ELSE format('expected %s; found %s', attempt.expected, outcome)
                END
            );
        END LOOP;
        RAISE EXCEPTION 'undo' USING ERRCODE = 'PV200';
    EXCEPTION
        WHEN SQLSTATE 'PV200' THEN NULL;
        WHEN read_only_sql_transaction OR insufficient_privilege THEN
            results := jsonb_build_array(
                jsonb_build_object('status', 'warn', 'found', 'not tried: ' || SQLERRM)
            );
        WHEN OTHERS THEN
            results := jsonb_build_array(
                jsonb_build_object('status', 'fail', 'found', 'one row per table: ' || SQLERRM)
            );
    END;
    PERFORM set_config('property_v2.behaviour', results::text, false);
END;
$do$;

SELECT
    'behaviour' AS check_name,
    r.status,
    r.found,
    CASE r.status
        WHEN 'fail' THEN 'See what differs in the checks of constraints, triggers and columns.'
        WHEN 'warn' THEN 'Try it as a role and on a server that may; the definitions are compared.'
    END AS what_to_do
FROM jsonb_to_recordset(current_setting('property_v2.behaviour')::jsonb) AS r (
    status text, found text
);
