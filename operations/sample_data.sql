-- Sample data: bilingual listings in the shapes that the application writes, the same for the same
-- seed. In one transaction it replaces what the six tables hold; application_name shows how far it
-- is. `make sample-data` runs it; by hand:
--   psql -X -q -v ON_ERROR_STOP=1 -v n=10000 -v seed=1 -v embeddings=false -f sample_data.sql

SELECT clock_timestamp() AS began
\gset

BEGIN;

SELECT format('SET LOCAL property_v2.seed = %L', :'seed')
\gexec

DO $$ -- never by mistake in a database that matters
BEGIN
    IF NOT coalesce(
        nullif(current_setting('property_v2.allow_data_loss', true), '')::boolean, false
    ) THEN
        RAISE EXCEPTION 'sample data replaces the rows of the six tables, and the database % does '
            'not allow that', current_database()
            USING ERRCODE = 'insufficient_privilege',
                HINT = format('If it may lose them: ALTER DATABASE %I '
                    'SET property_v2.allow_data_loss = on', current_database());
    ELSIF to_regclass('public.property_translations') IS NULL THEN
        RAISE EXCEPTION 'the six tables are not there'
            USING ERRCODE = 'undefined_table', HINT = 'Apply the migration first: make migrate.';
    ELSIF NOT pg_try_advisory_xact_lock(hashtext('property_v2 sample data')) THEN
        RAISE EXCEPTION 'another run of sample-data is at work here'
            USING ERRCODE = 'object_in_use',
                HINT = 'Wait for it; how far it is: psql -X -f operations/progress.sql.';
    END IF;
END;
$$;

TRUNCATE amenities, amenity_translations, policies, policy_translations,
properties, property_translations RESTART IDENTITY;

INSERT INTO users (email, full_name)
SELECT
    format('sample-%s@example.com', n),
    'Sample user ' || n
FROM generate_series(1, 200) AS n
ON CONFLICT (email) DO NOTHING;

CREATE TEMP TABLE sample_users AS
SELECT
    id,
    substring(email FROM '\d+')::integer - 1 AS nth
FROM users
WHERE email LIKE 'sample-%@example.com';

------------------------------------------------------------------------------------------------
-- Amenities and policies
------------------------------------------------------------------------------------------------

CREATE TEMP TABLE sample_amenities (
    sort_order integer GENERATED ALWAYS AS IDENTITY,
    category   text,
    id         text,
    en         text,
    th         text
);
INSERT INTO sample_amenities (category, id, en, th) VALUES
('interior', 'air_conditioning', 'Air conditioning', 'เครื่องปรับอากาศ'),
('interior', 'wifi', 'Wi-Fi', 'ไวไฟ'),
('interior', 'kitchen', 'Kitchen', 'ห้องครัว'),
('interior', 'refrigerator', 'Refrigerator', 'ตู้เย็น'),
('interior', 'washing_machine', 'Washing machine', 'เครื่องซักผ้า'),
('interior', 'water_heater', 'Water heater', 'เครื่องทำน้ำอุ่น'),
('interior', 'tv', 'Television', 'โทรทัศน์'),
('interior', 'wardrobe', 'Wardrobe', 'ตู้เสื้อผ้า'),
('interior', 'microwave', 'Microwave', 'ไมโครเวฟ'),
('interior', 'balcony', 'Balcony', 'ระเบียง'),
('interior', 'work_desk', 'Work desk', 'โต๊ะทำงาน'),
('interior', 'bathtub', 'Bathtub', 'อ่างอาบน้ำ'),
('exterior', 'private_parking', 'Private parking', 'ที่จอดรถส่วนตัว'),
('exterior', 'garden', 'Garden', 'สวน'),
('exterior', 'terrace', 'Terrace', 'ชานบ้าน'),
('exterior', 'pool', 'Private pool', 'สระว่ายน้ำส่วนตัว'),
('exterior', 'garage', 'Garage', 'โรงรถ'),
('exterior', 'bbq_area', 'Barbecue area', 'พื้นที่ปิ้งย่าง'),
('building', 'security_24h', '24-hour security', 'รักษาความปลอดภัย 24 ชั่วโมง'),
('building', 'elevator', 'Elevator', 'ลิฟต์'),
('building', 'cctv', 'CCTV', 'กล้องวงจรปิด'),
('building', 'gym', 'Gym', 'ฟิตเนส'),
('building', 'shared_pool', 'Shared pool', 'สระว่ายน้ำส่วนกลาง'),
('building', 'key_card', 'Key card access', 'คีย์การ์ด'),
('building', 'laundry', 'Laundry', 'ห้องซักรีด'),
('building', 'co_working', 'Co-working space', 'พื้นที่ทำงานร่วม'),
('building', 'playground', 'Playground', 'สนามเด็กเล่น'),
('building', 'sauna', 'Sauna', 'ซาวน่า'),
('area', 'near_mall', 'Near a mall', 'ใกล้ห้างสรรพสินค้า'),
('area', 'near_bts', 'Near BTS', 'ใกล้รถไฟฟ้าบีทีเอส'),
('area', 'near_school', 'Near a school', 'ใกล้โรงเรียน'),
('area', 'near_mrt', 'Near MRT', 'ใกล้รถไฟฟ้าเอ็มอาร์ที'),
('area', 'near_hospital', 'Near a hospital', 'ใกล้โรงพยาบาล'),
('area', 'near_beach', 'Near the beach', 'ใกล้ชายหาด');

CREATE TEMP TABLE sample_amenities_ranked AS
SELECT
    category,
    id,
    sort_order,
    row_number() OVER (PARTITION BY category ORDER BY sort_order) AS nth
FROM sample_amenities;

INSERT INTO amenities (id, category, icon, sort_order, created_at, updated_at)
SELECT
    id,
    category,
    'icon-' || id,
    sort_order,
    timestamptz '2023-06-30 12:00+07',
    timestamptz '2023-06-30 12:00+07'
FROM sample_amenities
ORDER BY sort_order;

INSERT INTO amenity_translations (amenity_id, locale, name, created_at, updated_at)
SELECT
    s.id,
    t.locale,
    t.name,
    timestamptz '2023-06-30 12:00+07',
    timestamptz '2023-06-30 12:00+07'
FROM sample_amenities AS s
CROSS JOIN LATERAL (VALUES ('en', s.en), ('th', s.th)) AS t (locale, name)
ORDER BY s.sort_order, t.locale;

CREATE TEMP TABLE sample_policies (
    sort_order integer GENERATED ALWAYS AS IDENTITY,
    category   text,
    id         text,
    data_type  text,
    en         text,
    th         text
);
INSERT INTO sample_policies (category, id, data_type, en, th) VALUES
('lease_terms', 'lease_duration_months', 'integer', 'Lease duration', 'ระยะเวลาเช่า'),
('lease_terms', 'deposit_months', 'integer', 'Deposit', 'เงินประกัน'),
('lease_terms', 'minimum_stay_months', 'integer', 'Minimum stay', 'ระยะเวลาเข้าพักขั้นต่ำ'),
('lease_terms', 'notice_days', 'integer', 'Notice period', 'ระยะเวลาแจ้งล่วงหน้า'),
('lease_terms', 'renewal_option', 'boolean', 'Option to renew', 'ต่อสัญญาได้'),
('house_rules', 'pets_allowed', 'boolean', 'Pets allowed', 'เลี้ยงสัตว์ได้'),
('house_rules', 'smoking_allowed', 'boolean', 'Smoking allowed', 'สูบบุหรี่ได้'),
('house_rules', 'parties_allowed', 'boolean', 'Parties allowed', 'จัดงานเลี้ยงได้'),
('house_rules', 'subletting_allowed', 'boolean', 'Subletting allowed', 'ให้เช่าช่วงได้'),
('house_rules', 'max_occupants', 'integer', 'Maximum of occupants', 'จำนวนผู้พักสูงสุด'),
('house_rules', 'quiet_hours', 'text', 'Quiet hours', 'ช่วงเวลางดเสียง'),
('payment', 'advance_months', 'integer', 'Advance payment', 'ค่าเช่าล่วงหน้า'),
('payment', 'payment_method', 'select', 'Payment method', 'วิธีชำระเงิน'),
('payment', 'utilities_included', 'boolean', 'Utilities included', 'รวมค่าน้ำค่าไฟ'),
('payment', 'late_fee_percent', 'integer', 'Late fee', 'ค่าปรับชำระล่าช้า'),
('payment', 'cleaning_fee', 'integer', 'Cleaning fee', 'ค่าทำความสะอาด'),
('payment', 'invoice_available', 'boolean', 'Invoice available', 'ออกใบกำกับภาษีได้');

INSERT INTO policies (id, category, data_type, sort_order, created_at, updated_at)
SELECT
    id,
    category,
    data_type,
    sort_order,
    timestamptz '2023-06-30 12:00+07',
    timestamptz '2023-06-30 12:00+07'
FROM sample_policies
ORDER BY sort_order;

INSERT INTO policy_translations (policy_id, locale, name, created_at, updated_at)
SELECT
    s.id,
    t.locale,
    t.name,
    timestamptz '2023-06-30 12:00+07',
    timestamptz '2023-06-30 12:00+07'
FROM sample_policies AS s
CROSS JOIN LATERAL (VALUES ('en', s.en), ('th', s.th)) AS t (locale, name)
ORDER BY s.sort_order, t.locale;

------------------------------------------------------------------------------------------------
-- Places: the 77 provinces by their official number, and how many of 1,000 listings lie there
------------------------------------------------------------------------------------------------

CREATE TEMP TABLE sample_provinces (id integer, weight integer, en text, th text);
INSERT INTO sample_provinces VALUES
(10, 340, 'Bangkok', 'กรุงเทพมหานคร'), (20, 130, 'Chon Buri', 'ชลบุรี'),
(83, 110, 'Phuket', 'ภูเก็ต'), (50, 90, 'Chiang Mai', 'เชียงใหม่'),
(12, 45, 'Nonthaburi', 'นนทบุรี'), (84, 45, 'Surat Thani', 'สุราษฎร์ธานี'),
(77, 40, 'Prachuap Khiri Khan', 'ประจวบคีรีขันธ์'), (11, 30, 'Samut Prakan', 'สมุทรปราการ'),
(13, 22, 'Pathum Thani', 'ปทุมธานี'), (81, 18, 'Krabi', 'กระบี่'), (21, 15, 'Rayong', 'ระยอง'),
(30, 10, 'Nakhon Ratchasima', 'นครราชสีมา'), (40, 8, 'Khon Kaen', 'ขอนแก่น'),
(57, 7, 'Chiang Rai', 'เชียงราย'), (90, 6, 'Songkhla', 'สงขลา'), (76, 5, 'Phetchaburi', 'เพชรบุรี'),
(14, 4, 'Phra Nakhon Si Ayutthaya', 'พระนครศรีอยุธยา'), (41, 4, 'Udon Thani', 'อุดรธานี'),
(73, 4, 'Nakhon Pathom', 'นครปฐม'), (74, 3, 'Samut Sakhon', 'สมุทรสาคร'),
(82, 3, 'Phangnga', 'พังงา'), (23, 2, 'Trat', 'ตราด'), (24, 2, 'Chachoengsao', 'ฉะเชิงเทรา'),
(34, 2, 'Ubon Ratchathani', 'อุบลราชธานี'), (65, 2, 'Phitsanulok', 'พิษณุโลก'),
(71, 2, 'Kanchanaburi', 'กาญจนบุรี'), (80, 2, 'Nakhon Si Thammarat', 'นครศรีธรรมราช'),
(15, 1, 'Ang Thong', 'อ่างทอง'), (16, 1, 'Lop Buri', 'ลพบุรี'), (17, 1, 'Sing Buri', 'สิงห์บุรี'),
(18, 1, 'Chai Nat', 'ชัยนาท'), (19, 1, 'Saraburi', 'สระบุรี'), (22, 1, 'Chanthaburi', 'จันทบุรี'),
(25, 1, 'Prachin Buri', 'ปราจีนบุรี'), (26, 1, 'Nakhon Nayok', 'นครนายก'),
(27, 1, 'Sa Kaeo', 'สระแก้ว'), (31, 1, 'Buri Ram', 'บุรีรัมย์'), (32, 1, 'Surin', 'สุรินทร์'),
(33, 1, 'Si Sa Ket', 'ศรีสะเกษ'), (35, 1, 'Yasothon', 'ยโสธร'), (36, 1, 'Chaiyaphum', 'ชัยภูมิ'),
(37, 1, 'Amnat Charoen', 'อำนาจเจริญ'), (38, 1, 'Bueng Kan', 'บึงกาฬ'),
(39, 1, 'Nong Bua Lam Phu', 'หนองบัวลำภู'), (42, 1, 'Loei', 'เลย'), (43, 1, 'Nong Khai', 'หนองคาย'),
(44, 1, 'Maha Sarakham', 'มหาสารคาม'), (45, 1, 'Roi Et', 'ร้อยเอ็ด'),
(46, 1, 'Kalasin', 'กาฬสินธุ์'), (47, 1, 'Sakon Nakhon', 'สกลนคร'),
(48, 1, 'Nakhon Phanom', 'นครพนม'), (49, 1, 'Mukdahan', 'มุกดาหาร'),
(51, 1, 'Lamphun', 'ลำพูน'), (52, 1, 'Lampang', 'ลำปาง'), (53, 1, 'Uttaradit', 'อุตรดิตถ์'),
(54, 1, 'Phrae', 'แพร่'), (55, 1, 'Nan', 'น่าน'), (56, 1, 'Phayao', 'พะเยา'),
(58, 1, 'Mae Hong Son', 'แม่ฮ่องสอน'), (60, 1, 'Nakhon Sawan', 'นครสวรรค์'),
(61, 1, 'Uthai Thani', 'อุทัยธานี'), (62, 1, 'Kamphaeng Phet', 'กำแพงเพชร'), (63, 1, 'Tak', 'ตาก'),
(64, 1, 'Sukhothai', 'สุโขทัย'), (66, 1, 'Phichit', 'พิจิตร'), (67, 1, 'Phetchabun', 'เพชรบูรณ์'),
(70, 1, 'Ratchaburi', 'ราชบุรี'), (72, 1, 'Suphan Buri', 'สุพรรณบุรี'),
(75, 1, 'Samut Songkhram', 'สมุทรสงคราม'), (85, 1, 'Ranong', 'ระนอง'), (86, 1, 'Chumphon', 'ชุมพร'),
(91, 1, 'Satun', 'สตูล'), (92, 1, 'Trang', 'ตรัง'), (93, 1, 'Phatthalung', 'พัทลุง'),
(94, 1, 'Pattani', 'ปัตตานี'), (95, 1, 'Yala', 'ยะลา'), (96, 1, 'Narathiwat', 'นราธิวาส');

CREATE TEMP TABLE sample_districts (id integer, en text, th text);
INSERT INTO sample_districts VALUES
(1001, 'Phra Nakhon', 'พระนคร'), (1004, 'Bang Rak', 'บางรัก'), (1006, 'Bang Kapi', 'บางกะปิ'),
(1007, 'Pathum Wan', 'ปทุมวัน'), (1009, 'Phra Khanong', 'พระโขนง'), (1012, 'Yan Nawa', 'ยานนาวา'),
(1014, 'Phaya Thai', 'พญาไท'), (1015, 'Thon Buri', 'ธนบุรี'), (1017, 'Huai Khwang', 'ห้วยขวาง'),
(1018, 'Khlong San', 'คลองสาน'), (1026, 'Din Daeng', 'ดินแดง'), (1028, 'Sathon', 'สาทร'),
(1030, 'Chatuchak', 'จตุจักร'), (1033, 'Khlong Toei', 'คลองเตย'), (1034, 'Suan Luang', 'สวนหลวง'),
(1037, 'Ratchathewi', 'ราชเทวี'), (1038, 'Lat Phrao', 'ลาดพร้าว'), (1039, 'Watthana', 'วัฒนา'),
(1047, 'Bang Na', 'บางนา'), (1202, 'Bang Kruai', 'บางกรวย'), (1206, 'Pak Kret', 'ปากเกร็ด'),
(2004, 'Bang Lamung', 'บางละมุง'), (2007, 'Si Racha', 'ศรีราชา'), (2009, 'Sattahip', 'สัตหีบ'),
(5007, 'Mae Rim', 'แม่ริม'), (5013, 'San Kamphaeng', 'สันกำแพง'), (5014, 'San Sai', 'สันทราย'),
(5015, 'Hang Dong', 'หางดง'), (7706, 'Pran Buri', 'ปราณบุรี'), (7707, 'Hua Hin', 'หัวหิน'),
(8103, 'Ko Lanta', 'เกาะลันตา'), (8302, 'Kathu', 'กะทู้'), (8303, 'Thalang', 'ถลาง'),
(8404, 'Ko Samui', 'เกาะสมุย'), (8405, 'Ko Pha-ngan', 'เกาะพะงัน');
-- Every other province has its district of the capital
INSERT INTO sample_districts
SELECT
    id * 100 + 1,
    'Mueang ' || en,
    'เมือง' || th
FROM sample_provinces
WHERE id NOT IN (10, 14)
UNION ALL
SELECT
    1401,
    'Phra Nakhon Si Ayutthaya',
    'พระนครศรีอยุธยา';

-- As many rows per province as its weight, its districts taking turns
CREATE TEMP TABLE sample_places AS
SELECT
    p.en AS province_en,
    p.th AS province_th,
    d.en AS district_en,
    d.th AS district_th,
    jsonb_build_object(
        'province_id', p.id, 'province_name', p.en, 'district_id', d.id, 'district_name', d.en,
        'postal_code', format('%s%s0', p.id, lpad((d.id % 100)::text, 2, '0'))
    ) AS administrative,
    row_number() OVER (ORDER BY p.id, slot) - 1 AS place,
    count(*) OVER () AS places
FROM sample_provinces AS p
CROSS JOIN LATERAL generate_series(0, p.weight - 1) AS slot
INNER JOIN LATERAL (
    SELECT
        s.*,
        row_number() OVER (ORDER BY s.id) - 1 AS turn,
        count(*) OVER () AS turns
    FROM sample_districts AS s
    WHERE s.id / 100 = p.id
) AS d ON slot % d.turns = d.turn;

CREATE TEMP TABLE sample_types (place integer, id text, th text, rooms integer, rent integer);
INSERT INTO sample_types
SELECT
    row_number() OVER () - 1,
    t.id,
    t.th,
    t.rooms,
    t.rent
FROM (
    VALUES
    -- How many of 100 listings, how many bedrooms at most, monthly rent in baht at the median
    (40, 'condo', 'คอนโดมิเนียม', 3, 16000), (18, 'house', 'บ้านเดี่ยว', 5, 28000),
    (12, 'villa', 'วิลล่า', 6, 75000), (10, 'apartment', 'อพาร์ตเมนต์', 2, 11000),
    (10, 'townhouse', 'ทาวน์เฮาส์', 4, 18000), (4, 'land', 'ที่ดิน', 0, 20000),
    (2, 'commercial', 'อาคารพาณิชย์', 0, 45000), (2, 'office', 'สำนักงาน', 0, 60000),
    (1, 'retail', 'พื้นที่ร้านค้า', 0, 40000), (1, 'warehouse', 'คลังสินค้า', 0, 70000)
) AS t (weight, id, th, rooms, rent)
CROSS JOIN LATERAL generate_series(1, t.weight) AS slot;

------------------------------------------------------------------------------------------------
-- Properties
------------------------------------------------------------------------------------------------

-- A number from 0 to 1, always the same for the same property, question and seed
CREATE FUNCTION pg_temp.u(n bigint, question integer) RETURNS double precision
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT (hashint8extended(n, question + current_setting('property_v2.seed')::bigint)
        & 2147483647) / 2147483648::double precision
$$;

CREATE PROCEDURE pg_temp.add_properties(first bigint, last bigint, with_embeddings boolean)
LANGUAGE sql AS $$
    WITH chosen AS MATERIALIZED (
        SELECT
            n,
            md5(format('%s/%s', current_setting('property_v2.seed'), n))::uuid AS id,
            (ARRAY['rent', 'rent', 'rent', 'rent', 'rent', 'sale', 'sale', 'sale', 'sale', 'lease'])
                [1 + floor(pg_temp.u(n, 1) * 10)::integer] AS transaction_type,
            -- Around the median of the type, most within a factor of two, in steps of 500 baht
            greatest(round(t.rent / 500 * exp(
                (pg_temp.u(n, 2) + pg_temp.u(n, 3) + pg_temp.u(n, 4) - 1.5) * 1.6
            )), 6) * 50000 AS rent,
            timestamptz '2026-06-30 12:00+07' - pg_temp.u(n, 5) * interval '3 years' AS created_at,
            t.id AS property_type,
            t.th AS type_th,
            least(1 + floor(pg_temp.u(n, 6) * t.rooms), t.rooms)::integer AS bedrooms,
            p.*
        FROM generate_series(first, last) AS n
        INNER JOIN sample_types AS t ON t.place = floor(pg_temp.u(n, 7) * 100)
        INNER JOIN sample_places AS p
            ON p.place = floor(pg_temp.u(n, 8) * (SELECT count(*) FROM sample_places))
    ),
    written AS (
        INSERT INTO properties (
            id, title, description, transaction_type, property_type,
            rent_price, sale_price, lease_price,
            physical_specs, location_details, amenities, policies, contact_info,
            cover_image, images, tags, description_embedding_en,
            is_published, is_featured, listing_priority, deleted_at,
            created_by, updated_by, created_at, updated_at
        )
        SELECT
            c.id,
            format(
                '%s %s in %s',
                (ARRAY['Bright', 'Quiet', 'Modern', 'Spacious', 'Charming', 'Renovated'])
                    [1 + floor(pg_temp.u(n, 10) * 6)::integer],
                concat_ws(' ', nullif(c.bedrooms, 0) || '-bedroom', c.property_type),
                c.district_en
            ),
            (
                SELECT string_agg(s.sentence, ' ' ORDER BY s.place)
                FROM unnest(ARRAY[
                    'A well-kept ' || c.property_type || ' in ' || c.district_en || '.',
                    'Shops, cafés and a fresh market are a short walk away.',
                    'The living area opens onto a wide view and gets the evening breeze.',
                    'The owner keeps it in very good condition and answers quickly.',
                    'Fast internet is installed and there is room to work from home.',
                    'Public transport and the expressway are close by.',
                    'The neighbourhood is calm at night and friendly by day.',
                    'International schools and a hospital are within fifteen minutes.',
                    'Viewing is possible every day, at short notice too.',
                    'Common areas are cleaned daily and guarded around the clock.'
                ]) WITH ORDINALITY AS s (sentence, place)
                WHERE s.place = 1 OR pg_temp.u(n, 20 + s.place::integer) < 0.55
            ),
            c.transaction_type,
            c.property_type,
            CASE WHEN c.transaction_type = 'rent' THEN c.rent END,
            CASE WHEN c.transaction_type = 'sale' THEN c.rent * 240 END,
            CASE WHEN c.transaction_type = 'lease' THEN round(c.rent * 0.8 / 50000) * 50000 END,
            jsonb_build_object(
                'rooms', jsonb_build_object(
                    'bedrooms', c.bedrooms,
                    'bathrooms', greatest(1, c.bedrooms - (pg_temp.u(n, 11) < 0.4)::integer)
                ),
                'sizes', jsonb_build_object(
                    'usable_area_sqm', 25 + c.bedrooms * 22 + floor(pg_temp.u(n, 12) * 40)
                ),
                'furnishing', (ARRAY['fully_furnished', 'partly_furnished', 'unfurnished'])
                    [1 + floor(pg_temp.u(n, 13) ^ 2 * 3)::integer],
                'condition', (ARRAY['good', 'excellent', 'new', 'needs_renovation'])
                    [1 + floor(pg_temp.u(n, 14) ^ 2 * 4)::integer],
                'floors', 1 + floor(pg_temp.u(n, 15) * 3),
                'year_built', 1995 + floor(pg_temp.u(n, 16) * 30)
            ),
            jsonb_build_object(
                'administrative', c.administrative,
                'coordinates', jsonb_build_object(
                    'lat', round((7 + pg_temp.u(n, 17) * 12)::numeric, 5),
                    'lng', round((98 + pg_temp.u(n, 18) * 6)::numeric, 5)
                ),
                'nearby_landmarks', CASE WHEN pg_temp.u(n, 19) < 0.3 THEN jsonb_build_array(
                    jsonb_build_object('type', 'bts', 'distance_m', floor(pg_temp.u(n, 9) * 1500))
                ) ELSE '[]' END
            ),
            -- The first of each category is had by most, the last by few
            (
                SELECT jsonb_object_agg(g.category, g.ids)
                FROM (
                    SELECT
                        a.category,
                        coalesce(jsonb_agg(a.id ORDER BY a.sort_order) FILTER (
                            WHERE pg_temp.u(n, 100 + a.sort_order) < 0.9 * 0.8 ^ (a.nth - 1)
                        ), '[]') AS ids
                    FROM sample_amenities_ranked AS a
                    GROUP BY a.category
                ) AS g
            ),
            jsonb_build_object(
                'lease_terms', jsonb_build_object(
                    'lease_duration_months', (ARRAY[12, 12, 6, 24])
                        [1 + floor(pg_temp.u(n, 30) * 4)::integer],
                    'deposit_months', 1 + floor(pg_temp.u(n, 31) * 3),
                    'notice_days', 30,
                    'renewal_option', pg_temp.u(n, 32) < 0.7
                ),
                'house_rules', jsonb_build_object(
                    'pets_allowed', pg_temp.u(n, 33) < 0.25,
                    'smoking_allowed', pg_temp.u(n, 34) < 0.1,
                    'max_occupants', 1 + c.bedrooms * 2
                ),
                'payment', jsonb_build_object(
                    'payment_method', (ARRAY['bank_transfer', 'cash', 'promptpay'])
                        [1 + floor(pg_temp.u(n, 35) * 3)::integer],
                    'utilities_included', pg_temp.u(n, 36) < 0.15
                )
            ),
            jsonb_build_object(
                'phone', '+66 2 000 ' || lpad(floor(pg_temp.u(n, 37) * 10000)::text, 4, '0'),
                'email', format('agent-%s@example.com', floor(pg_temp.u(n, 38) * 200)),
                'line_id', '@agent' || floor(pg_temp.u(n, 38) * 200),
                'preferred_contact', (ARRAY['line', 'phone', 'email'])
                    [1 + floor(pg_temp.u(n, 39) * 3)::integer]
            ),
            jsonb_build_object(
                'url', format('https://images.example.com/%s/cover.jpg', c.id),
                'alt', c.property_type || ' in ' || c.district_en,
                'width', 1600, 'height', 900, 'format', 'jpg'
            ),
            ARRAY(
                SELECT jsonb_build_object(
                    'url', format('https://images.example.com/%s/%s.jpg', c.id, i),
                    'alt', 'Photo ' || i,
                    'width', 1600, 'height', 1067, 'format', 'jpg'
                )
                FROM generate_series(1, 2 + floor(pg_temp.u(n, 40) * 5)::integer) AS i
            ),
            ARRAY(
                SELECT tag
                FROM unnest(ARRAY[
                    'new', 'city_center', 'pool', 'pet_friendly', 'sea_view', 'family',
                    'expat_favourite', 'investment', 'luxury', 'corner_unit', 'high_floor',
                    'mountain_view', 'golf', 'student', 'duplex', 'penthouse', 'heritage'
                ]) WITH ORDINALITY AS t (tag, nth)
                WHERE pg_temp.u(n, 50 + nth::integer) < 0.3 * 0.75 ^ (nth - 1)
            ),
            CASE WHEN with_embeddings AND n % 10 = 0 THEN (
                SELECT array_agg(round((pg_temp.u(n, 1000 + i) - 0.5)::numeric, 4))::vector
                FROM generate_series(1, 1536) AS i
            ) END,
            pg_temp.u(n, 41) < 0.8,
            pg_temp.u(n, 42) < 0.03,
            CASE WHEN pg_temp.u(n, 43) < 0.2 THEN floor(pg_temp.u(n, 44) * 1000) ELSE 0 END,
            CASE
                WHEN pg_temp.u(n, 45) < 0.06
                    THEN c.created_at + pg_temp.u(n, 46) * interval '60 days'
            END,
            u.id,
            u.id,
            c.created_at,
            c.created_at + pg_temp.u(n, 47) * interval '60 days'
        FROM chosen AS c
        -- Few users own many; one listing in ten has no author
        LEFT JOIN sample_users AS u
            ON u.nth = floor(pg_temp.u(n, 48) ^ 2 * 200) AND pg_temp.u(n, 49) < 0.9
        ORDER BY n
    )
    INSERT INTO property_translations (property_id, locale, field, value, created_at, updated_at)
    SELECT
        c.id,
        'th',
        t.field,
        t.value,
        c.created_at,
        c.created_at
    FROM chosen AS c
    CROSS JOIN LATERAL (
        VALUES
        (1, 0.85, 'title', concat(
            c.type_th, nullif(format(' %s ห้องนอน', c.bedrooms), ' 0 ห้องนอน'), ' ', c.district_th
        )),
        (2, 0.8, 'description', format(
            '%sใน%s %s สภาพดี พร้อมเข้าอยู่ เดินทางสะดวก ใกล้ตลาดและร้านอาหาร '
            'ห้องกว้าง ลมเย็น เจ้าของดูแลเอง นัดชมได้ทุกวัน',
            c.type_th, c.district_th, c.province_th
        )),
        (3, 0.75, 'location_province', c.province_th),
        (4, 0.7, 'location_district', c.district_th)
    ) AS t (nth, share, field, value)
    -- Who translates one thing translates most
    WHERE pg_temp.u(c.n, 60) < t.share
    ORDER BY c.n, t.nth
$$;

-- In batches, which keep the queue of foreign-key checks small
SELECT
    format(
        'SET LOCAL application_name = ''[%s] %s of %s properties''',
        rpad(repeat('#', (20 * done / :n)::integer), 20, '.'),
        to_char(done, 'FM999,999,990'), to_char(:n, 'FM999,999,990')
    ),
    format(
        'CALL pg_temp.add_properties(%s, %s, %L)', done + 1, least(done + 20000, :n), :'embeddings'
    )
FROM generate_series(0, :n - 1, 20000) AS done
ORDER BY done
\gexec

DISCARD TEMP; -- or what others run in this session, behind a pooler, would find it
COMMIT;

VACUUM (ANALYZE) amenities, amenity_translations, policies, policy_translations,
properties, property_translations;

SELECT
    format(
        '%s properties with %s translations, seed %s, in %s s',
        to_char(:n, 'FM999,999,990'), to_char(count(*), 'FM999,999,999,999'), :'seed',
        round(extract(EPOCH FROM clock_timestamp() - :'began'), 1)
    )
FROM property_translations;
