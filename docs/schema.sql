-- docs/schema.md from the catalog of a migrated database, as make renew writes it: one row with the
-- page, and with what is at fault here (null when nothing is). The catalog knows no purposes, and
-- comments only where the specification or a doubt asked for them: the other words stand here. What
-- a later migration makes has them in its COMMENT.
WITH purposes (place, name, purpose) AS (
    VALUES
    (1, 'properties', 'One row per listing; its own text is English, the last resort.'),
    (2, 'property_translations', 'One row per listing, locale and field.'),
    (3, 'amenities', 'What a listing may offer: one row per amenity, such as `near_bts`.'),
    (4, 'amenity_translations', 'The name of an amenity: one row per locale.'),
    (5, 'policies', 'What a listing may rule: one row per policy, such as `pets_allowed`.'),
    (6, 'policy_translations', 'The name of a policy and what it says: one row per locale.')
),

tables (oid, name, comment_text, purpose, place) AS (
    SELECT
        c.oid,
        c.relname,
        obj_description(c.oid, 'pg_class'),
        p.purpose,
        row_number() OVER (ORDER BY p.place, c.oid)
    FROM pg_class AS c
    LEFT JOIN purposes AS p ON c.relname = p.name
    WHERE
        c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
        AND c.relname <> 'users' AND c.relname NOT LIKE '%yoyo%'
),

texts (name, words) AS (
    VALUES
    -- Columns without a comment; without a table: in each that has no words of its own for it
    ('.id', 'Number of the translation'),
    ('.created_at', 'When the transaction began that inserted the row'),
    ('.updated_at', 'When the transaction began that last updated the row; the trigger sets it'),
    ('.sort_order', 'Place within its category, the lowest first'),
    ('.is_active', 'Whether it is on offer; false instead of deleting it'),
    ('amenities.id', 'A readable key: air_conditioning, near_bts'),
    ('amenities.category', 'The key in properties.amenities under which it is listed'),
    ('amenities.icon', 'Name of its icon'),
    ('amenity_translations.amenity_id', 'The amenity that is named'),
    ('amenity_translations.name', 'Its name in this locale'),
    ('policies.id', 'A readable key: pets_allowed, deposit_months'),
    ('policies.category', 'The key in properties.policies under which its value is found'),
    ('policies.data_type', 'Type of its value there'),
    ('policy_translations.policy_id', 'The policy that is named'),
    ('policy_translations.name', 'Its name in this locale'),
    ('policy_translations.description', 'What it says, in this locale'),
    ('properties.id', 'Random, so that it tells nothing in a public address'),
    ('properties.title', 'English title'),
    ('properties.description', 'English description'),
    ('properties.transaction_type', 'Decides which price must be there'),
    ('properties.property_type', 'Kind of building or land'),
    ('properties.currency', 'Of all three prices, by ISO 4217'),
    ('properties.tags', 'Free words to search for'),
    ('properties.description_embedding_th', 'The same for Thai'),
    ('properties.is_published', 'Whether the site shows it'),
    ('properties.is_featured', 'Whether the site gives it prominence'),
    ('properties.listing_priority', 'The highest is listed first'),
    ('properties.deleted_at', 'Soft delete: null while the row counts'),
    ('properties.created_by', 'The user who entered it; null when that user is gone'),
    ('properties.updated_by', 'The user who changed it last; null when that user is gone'),
    ('property_translations.property_id', 'The listing that is translated'),
    ('property_translations.field', 'Which text of the listing this is'),
    ('property_translations.value', 'The text'),

    -- CHECK constraints that are no list of values
    ('valid_locale_amenity', '`locale` is a language, or a language and a country'),
    ('valid_locale_policy', '`locale` is a language, or a language and a country'),
    ('valid_locale', '`locale` is a language, or a language and a country'),
    ('valid_price_for_transaction', 'The price that belongs to `transaction_type` is there'),
    ('positive_prices', 'Each price is above zero, or null'),
    ('valid_priority', '`listing_priority` is from 0 to 999'),

    -- Indexes that belong to no constraint
    ('idx_amenities_category', 'The amenities on offer, by category'),
    ('idx_policies_category', 'The policies on offer, by category'),
    ('idx_properties_transaction_price', 'Published listings by kind and price, in that order'),
    ('idx_properties_type', 'Published listings of a property type'),
    ('idx_properties_listing', 'The listing page in its order'),
    ('idx_properties_created_by', 'The listings that a user entered'),
    ('idx_properties_deleted_at', 'Deleted listings, to purge them'),
    ('idx_properties_physical_specs', '`physical_specs @> …`: bedrooms, furnishing'),
    ('idx_properties_amenities', '`amenities @> …`: listings that offer all of these'),
    ('idx_properties_policies', '`policies @> …`: listings with these rules'),
    ('idx_properties_location_details', '`location_details @> …`: province, district'),
    ('idx_properties_tags', '`tags @> …` (all of them), `tags && …` (any of them)'),
    ('idx_property_translations_lookup', 'Nothing that `unique_translation` does not serve'),
    ('idx_property_translations_locale', 'Translation coverage by locale')
),

-- Lines of every table: %1$s is its name, %2$s its comment and purpose.
frame (section, nth, line) AS (
    VALUES
    (1, 1, ''),
    (1, 2, '## %1$s'),
    (1, 3, ''),
    (1, 4, '%2$s'),
    (1, 5, ''),
    (1, 6, '| Column | Type | Null | Default | Meaning |'),
    (1, 7, '| --- | --- | --- | --- | --- |'),
    (3, 1, ''),
    (3, 2, '| Constraint | In words |'),
    (3, 3, '| --- | --- |'),
    (5, 1, ''),
    (5, 2, '| Index | Definition | Serves |'),
    (5, 3, '| --- | --- | --- |'),
    (7, 1, '')
),

braces (edge, line) AS (
    VALUES
    (0, '    %s {'),
    (10000, '    }')
),

columns AS (
    SELECT
        t.oid,
        t.place,
        t.name AS table_name,
        a.attnum,
        a.attname,
        CASE WHEN a.attnotnull THEN '' ELSE 'yes' END AS nullable,
        col_description(t.oid, a.attnum) AS comment_text,
        regexp_replace(
            pg_get_expr(d.adbin, d.adrelid), '::(character varying|regclass)', ''
        ) AS default_value,
        replace(
            replace(format_type(a.atttypid, a.atttypmod), 'character varying', 'varchar'),
            'timestamp with time zone', 'timestamptz'
        ) AS data_type
    FROM tables AS t
    INNER JOIN pg_attribute AS a ON t.oid = a.attrelid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef AS d ON a.attrelid = d.adrelid AND a.attnum = d.adnum
),

constraints AS (
    SELECT
        k.conrelid,
        k.conname,
        k.contype,
        k.conkey,
        t.place,
        t.name AS table_name,
        k.confrelid::regclass AS other_table,
        pg_get_constraintdef(k.oid, TRUE) AS definition,
        CASE k.confdeltype
            WHEN 'c' THEN 'deleting it there deletes this row'
            WHEN 'n' THEN 'deleting it there leaves null here'
            ELSE 'it cannot be deleted there'
        END AS on_delete,
        array_position(ARRAY['p', 'u', 'f', 'c'], k.contype::text) AS kind,
        (
            SELECT string_agg('`' || c.attname || '`', ', ' ORDER BY part.place)
            FROM unnest(k.conkey) WITH ORDINALITY AS part (attnum, place)
            INNER JOIN columns AS c ON k.conrelid = c.oid AND part.attnum = c.attnum
        ) AS key_columns,
        (
            SELECT string_agg(m.value[1], ', ')
            FROM regexp_matches(pg_get_constraintdef(k.oid), '''(\w+)''::char', 'g') AS m (value)
            WHERE pg_get_constraintdef(k.oid) LIKE '%= ANY%'
        ) AS value_list
    FROM tables AS t
    INNER JOIN pg_constraint AS k ON t.oid = k.conrelid
    WHERE k.contype <> 'n'
),

indexes AS (
    SELECT
        t.place,
        i.indexrelid::regclass::text AS index_name,
        k.conname,
        obj_description(i.indexrelid, 'pg_class') AS comment_text,
        regexp_replace(pg_get_indexdef(i.indexrelid), '^.* USING ', '') AS definition
    FROM tables AS t
    INNER JOIN pg_index AS i ON t.oid = i.indrelid
    LEFT JOIN pg_constraint AS k ON i.indexrelid = k.conindid AND i.indrelid = k.conrelid
),

meanings AS (
    SELECT
        c.*,
        coalesce(own.name, '.' || c.attname) AS text_name,
        coalesce(c.comment_text, own.words, common.words) AS meaning
    FROM columns AS c
    LEFT JOIN texts AS own ON own.name = c.table_name || '.' || c.attname
    LEFT JOIN texts AS common ON common.name = '.' || c.attname
),

-- What has words here, and whether it must: a constraint or an index speaks for itself.
wordy (name, must) AS (
    SELECT
        name,
        comment_text IS NULL
    FROM tables
    UNION
    SELECT
        text_name,
        TRUE
    FROM meanings
    WHERE comment_text IS NULL
    UNION
    SELECT
        conname,
        FALSE
    FROM constraints
    WHERE contype = 'c' AND value_list IS NULL
    UNION
    SELECT
        index_name,
        FALSE
    FROM indexes
    WHERE conname IS NULL
),

offered (name) AS (
    SELECT name
    FROM texts
    UNION
    SELECT name
    FROM purposes
),

-- Chapter 0 is what stands before the first table; the lines of a diagram have no empty line.
lines (chapter, section, place, line) AS (
    VALUES
    (0, 0, 1, '# Schema'),
    (0, 0, 2, ''),
    (0, 0, 3, '<!-- Written by make renew, from the catalog through docs/schema.sql. -->'),
    (0, 0, 4, ''),
    (0, 0, 5, 'The tables in schema `public`, and `users`, which the application brings.'),
    (0, 0, 6, ''),
    (0, 0, 7, '```mermaid'),
    (0, 0, 8, 'erDiagram'),
    -- First, so that it does not lie right below, where its line would be too short to see
    (0, 0, 9, '    properties }o..o{ amenities : "lists their ids"'),
    (0, 2, 2, '    properties }o..o{ policies : "has values by their ids"'),
    (0, 2, 3, '    users {'),
    (0, 2, 4, '        integer id PK'),
    (0, 2, 5, '    }'),
    -- After all tables
    (0, 99, 1, '```'),
    (0, 99, 2, ''),
    (0, 99, 3, 'Dotted: ids within the JSONB documents of a listing, which no foreign key checks.'),
    (0, 99, 4, '`update_updated_at_column()` sets `updated_at` to the begin of the transaction: a'),
    (0, 99, 5, 'later commit may carry an earlier time.')
    UNION ALL
    SELECT
        0,
        1,
        row_number() OVER (ORDER BY k.place, k.conname),
        format(
            '    %s %s--o{ %s : %s', k.other_table,
            CASE c.nullable WHEN 'yes' THEN '|o' ELSE '||' END, k.table_name, c.attname
        )
    FROM constraints AS k
    INNER JOIN columns AS c ON k.conrelid = c.oid AND k.conkey[1] = c.attnum
    WHERE k.contype = 'f'
    UNION ALL
    SELECT
        0,
        2 + t.place,
        brace.edge,
        format(brace.line, t.name)
    FROM tables AS t
    CROSS JOIN braces AS brace
    UNION ALL
    SELECT
        0,
        2 + c.place,
        c.attnum,
        concat_ws(' ', '       ', c.data_type, c.attname, k.own, '"part of ' || k.shared || '"')
    FROM columns AS c
    CROSS JOIN
        LATERAL (
            SELECT
                string_agg(upper(k.contype::text) || 'K', ', ' ORDER BY k.kind)
                FILTER (WHERE k.contype <> 'u' OR cardinality(k.conkey) = 1) AS own,
                string_agg(k.conname, ', ' ORDER BY k.conname)
                FILTER (WHERE k.contype = 'u' AND cardinality(k.conkey) > 1) AS shared
            FROM constraints AS k
            WHERE k.conrelid = c.oid AND k.contype <> 'c' AND k.conkey @> ARRAY[c.attnum]
        ) AS k
    UNION ALL
    SELECT
        t.place,
        f.section,
        f.nth,
        format(
            f.line, t.name,
            regexp_replace(concat_ws('. ', t.comment_text, t.purpose), '[^.]$', '\&.')
        )
    FROM tables AS t
    CROSS JOIN frame AS f
    UNION ALL
    SELECT
        m.place,
        2,
        m.attnum,
        format(
            '| `%s` | %s | %s | %s | %s |',
            m.attname, m.data_type, m.nullable, '`' || m.default_value || '`', m.meaning
        )
    FROM meanings AS m
    UNION ALL
    SELECT
        k.place,
        4,
        row_number() OVER (PARTITION BY k.place ORDER BY k.kind, k.conname),
        format('| `%s` | %s |', k.conname, CASE
            WHEN k.contype IN ('p', 'u') THEN 'One row per ' || k.key_columns
            WHEN k.contype = 'f'
                THEN format('%s is in `%s`; %s', k.key_columns, k.other_table, k.on_delete)
            ELSE coalesce(
                k.key_columns || ' is one of ' || k.value_list, texts.words,
                '`' || k.definition || '`'
            )
        END)
    FROM constraints AS k
    LEFT JOIN texts ON k.conname = texts.name
    UNION ALL
    SELECT
        i.place,
        6,
        row_number() OVER (PARTITION BY i.place ORDER BY i.conname, i.index_name),
        format(
            '| `%s` | `%s` | %s |', i.index_name, i.definition,
            coalesce(
                texts.words, i.comment_text,
                CASE WHEN i.conname IS NOT NULL THEN 'The constraint of its name' ELSE '' END
            )
        )
    FROM indexes AS i
    LEFT JOIN texts ON i.index_name = texts.name
    UNION ALL
    SELECT
        t.place,
        8,
        row_number() OVER (PARTITION BY t.place ORDER BY g.tgname),
        format(
            'Trigger `%s`: %s.', g.tgname,
            substring(pg_get_triggerdef(g.oid, TRUE) FROM '(?:BEFORE|AFTER|INSTEAD OF) .*')
        )
    FROM tables AS t
    INNER JOIN pg_trigger AS g ON t.oid = g.tgrelid
    WHERE NOT g.tgisinternal
)

SELECT
    string_agg(line, E'\n' ORDER BY chapter, section, place) || E'\n' AS page,
    (
        SELECT string_agg(coalesce('no words for ' || w.name, 'words for no ' || o.name), ', ')
        FROM wordy AS w
        FULL JOIN offered AS o ON w.name = o.name
        WHERE w.name IS NULL OR (w.must AND o.name IS NULL)
    ) AS faults
FROM lines;
