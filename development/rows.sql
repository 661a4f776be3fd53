-- A few rows in every table, to see what a migration does where there are some.
INSERT INTO users (email, full_name)
SELECT
    n || '@example.com',
    'A'
FROM generate_series(1, 5) AS n;
INSERT INTO amenities (id, category) VALUES ('wifi', 'interior');
INSERT INTO amenity_translations (amenity_id, locale, name) VALUES ('wifi', 'th', 'ไวไฟ');
INSERT INTO policies (id, category, data_type) VALUES ('pets_allowed', 'house_rules', 'boolean');
INSERT INTO policy_translations (policy_id, locale, name) VALUES ('pets_allowed', 'en', 'Pets');
INSERT INTO properties (title, description, transaction_type, property_type, rent_price, created_by)
SELECT
    'Villa ' || id,
    'x',
    'rent',
    'villa',
    3500000,
    id
FROM users;
INSERT INTO property_translations (property_id, locale, field, value)
SELECT
    id,
    'th',
    'title',
    'วิลล่า'
FROM properties;
