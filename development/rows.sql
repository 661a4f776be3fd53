-- Rows that a careless copy would change: text, arrays, NULLs, vectors, times.

INSERT INTO users (email)
SELECT letter || '@example.com'
FROM unnest(ARRAY['a', 'b', 'c']) AS letter
WHERE NOT EXISTS (SELECT FROM users);

INSERT INTO amenities (id, category, icon, sort_order, created_at, updated_at) VALUES
('wifi', 'interior', NULL, -2147483648, '2020-02-29 23:59:59.999999+07', '2020-03-01 00:00+00'),
('', 'area', '', 2147483647, 'infinity', '-infinity'),
(E'tab\tnewline\nback\\slash', 'building', E'\\.', 0, '0044-03-15 12:00:00.000001+00 BC', now());

INSERT INTO amenity_translations (amenity_id, locale, name)
SELECT
    id,
    locale,
    E'ไวไฟ 🏝️👩‍👩‍👧 "quoted" ''single'' $$dollar$$ \r\n' || locale
FROM amenities, unnest(ARRAY['en', 'th']) AS locale;
DELETE FROM amenity_translations
WHERE locale = 'en' AND amenity_id = '';

INSERT INTO policies (id, category, data_type) VALUES
('pets_allowed', 'house_rules', 'boolean'), ('ห้ามสูบบุหรี่', 'house_rules', 'text');
INSERT INTO policy_translations (policy_id, locale, name, description) VALUES
('pets_allowed', 'th', 'เลี้ยงสัตว์ได้', NULL), ('ห้ามสูบบุหรี่', 'th', 'ห้ามสูบบุหรี่', '');

INSERT INTO properties (
    title, description, transaction_type, property_type, rent_price, sale_price, lease_price,
    physical_specs, images, tags, cover_image, description_embedding_en, is_published, deleted_at,
    created_by, updated_by, created_at, updated_at
)
SELECT
    format(E'คอนโด %s 🏝️ "ริมทะเล" \\ ''\n''\t', n),
    CASE n % 3 WHEN 0 THEN '' WHEN 1 THEN E'\\N' ELSE E'\r\n\t' END,
    (ARRAY['rent', 'sale', 'lease'])[1 + n % 3],
    'condo',
    9223372036854775807,
    1,
    1,
    jsonb_build_object('ชื่อ', E'"\\\n', 'n', 1e100, 'null', NULL, 'e', '[]'::jsonb),
    CASE n % 3
        WHEN 0 THEN '{}'
        WHEN 1 THEN ARRAY['{"url": "a,b}\\\""}', 'null', NULL, '"ไทย"']::jsonb[]
        ELSE ARRAY[ARRAY['1'], ARRAY['2']]::jsonb[]
    END,
    CASE n % 2 WHEN 0 THEN '{}' ELSE ARRAY['', 'NULL', NULL, E'a"b\\c,{}', 'ทะเล'] END,
    CASE n % 2 WHEN 0 THEN 'null'::jsonb END,
    CASE n % 5
        WHEN 0 THEN (SELECT array_agg((n - i) / 7e5)::vector FROM generate_series(1, 1536) AS i)
    END,
    n % 2 = 0,
    CASE n % 4 WHEN 0 THEN timestamptz '2026-01-01 00:00:00.123456+07' END,
    nullif(n % 4, 0),
    nullif(n % 3, 0),
    timestamptz '2026-01-01' + n * interval '1 microsecond',
    timestamptz '2026-06-01' - n * interval '1 microsecond'
FROM generate_series(1, 500) AS n;

INSERT INTO property_translations (property_id, locale, field, value)
SELECT
    p.id,
    l.locale,
    f.field,
    p.title || E'\n\\' || f.field
FROM properties AS p
CROSS JOIN unnest(ARRAY['en', 'th']) AS l (locale)
CROSS JOIN unnest(ARRAY['title', 'description', 'location_province']) AS f (field);
