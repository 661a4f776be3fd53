-- Every object of the migrations: there, as it was made, and nothing besides on their tables.
-- Paste the whole file into psql: it shows what passes, what was found, and the SQL that mends it.
--
-- What is expected is read by make renew from a scratch database, after each migration in turn,
-- and reviewed as a diff. That a wrong migration does not expect itself is the work of
-- tests/test_schema.py, written from the specification.
WITH expected (migration, removed_by, kind, name, definition) AS (
    -- written by make renew
    VALUES
    ('0001_property_v2', NULL, 'table', 'amenities', 'ordinary table'),
    ('0001_property_v2', NULL, 'table', 'amenity_translations', 'ordinary table'),
    ('0001_property_v2', NULL, 'table', 'policies', 'ordinary table'),
    ('0001_property_v2', NULL, 'table', 'policy_translations', 'ordinary table'),
    ('0001_property_v2', NULL, 'table', 'properties', 'ordinary table'),
    ('0001_property_v2', NULL, 'table', 'property_translations', 'ordinary table'),
    (
        '0001_property_v2', NULL, 'column', 'amenities.category',
        'character varying(50) NOT NULL (after id)'
    ),
    (
        '0001_property_v2', NULL, 'column', 'amenities.created_at',
        'timestamp with time zone NOT NULL DEFAULT CURRENT_TIMESTAMP (after is_active)'
    ),
    (
        '0001_property_v2', NULL, 'column', 'amenities.icon',
        'character varying(100) (after category)'
    ),
    ('0001_property_v2', NULL, 'column', 'amenities.id', 'character varying(100) NOT NULL'),
    (
        '0001_property_v2', NULL, 'column', 'amenities.is_active',
        'boolean NOT NULL DEFAULT true (after sort_order)'
    ),
    (
        '0001_property_v2', NULL, 'column', 'amenities.sort_order',
        'integer NOT NULL DEFAULT 0 (after icon)'
    ),
    (
        '0001_property_v2', NULL, 'column', 'amenities.updated_at',
        'timestamp with time zone NOT NULL DEFAULT CURRENT_TIMESTAMP (after created_at)'
    ),
    (
        '0001_property_v2', NULL, 'column', 'amenity_translations.amenity_id',
        'character varying(100) NOT NULL (after id)'
    ),
    (
        '0001_property_v2', NULL, 'column', 'amenity_translations.created_at',
        'timestamp with time zone NOT NULL DEFAULT CURRENT_TIMESTAMP (after name)'
    ),
    (
        '0001_property_v2', NULL, 'column', 'amenity_translations.id',
        $$integer NOT NULL DEFAULT nextval('amenity_translations_id_seq'::regclass)$$
    ),
    (
        '0001_property_v2', NULL, 'column', 'amenity_translations.locale',
        'character varying(5) NOT NULL (after amenity_id)'
    ),
    (
        '0001_property_v2', NULL, 'column', 'amenity_translations.name',
        'character varying(255) NOT NULL (after locale)'
    ),
    (
        '0001_property_v2', NULL, 'column', 'amenity_translations.updated_at',
        'timestamp with time zone NOT NULL DEFAULT CURRENT_TIMESTAMP (after created_at)'
    ),
    (
        '0001_property_v2', NULL, 'column', 'policies.category',
        'character varying(50) NOT NULL (after id)'
    ),
    (
        '0001_property_v2', NULL, 'column', 'policies.created_at',
        'timestamp with time zone NOT NULL DEFAULT CURRENT_TIMESTAMP (after sort_order)'
    ),
    (
        '0001_property_v2', NULL, 'column', 'policies.data_type',
        'character varying(20) NOT NULL (after category)'
    ),
    ('0001_property_v2', NULL, 'column', 'policies.id', 'character varying(100) NOT NULL'),
    (
        '0001_property_v2', NULL, 'column', 'policies.is_active',
        'boolean NOT NULL DEFAULT true (after data_type)'
    ),
    (
        '0001_property_v2', NULL, 'column', 'policies.sort_order',
        'integer NOT NULL DEFAULT 0 (after is_active)'
    ),
    (
        '0001_property_v2', NULL, 'column', 'policies.updated_at',
        'timestamp with time zone NOT NULL DEFAULT CURRENT_TIMESTAMP (after created_at)'
    ),
    (
        '0001_property_v2', NULL, 'column', 'policy_translations.created_at',
        'timestamp with time zone NOT NULL DEFAULT CURRENT_TIMESTAMP (after description)'
    ),
    ('0001_property_v2', NULL, 'column', 'policy_translations.description', 'text (after name)'),
    (
        '0001_property_v2', NULL, 'column', 'policy_translations.id',
        $$integer NOT NULL DEFAULT nextval('policy_translations_id_seq'::regclass)$$
    ),
    (
        '0001_property_v2', NULL, 'column', 'policy_translations.locale',
        'character varying(5) NOT NULL (after policy_id)'
    ),
    (
        '0001_property_v2', NULL, 'column', 'policy_translations.name',
        'character varying(255) NOT NULL (after locale)'
    ),
    (
        '0001_property_v2', NULL, 'column', 'policy_translations.policy_id',
        'character varying(100) NOT NULL (after id)'
    ),
    (
        '0001_property_v2', NULL, 'column', 'policy_translations.updated_at',
        'timestamp with time zone NOT NULL DEFAULT CURRENT_TIMESTAMP (after created_at)'
    ),
    (
        '0001_property_v2', NULL, 'column', 'properties.amenities',
        $$jsonb NOT NULL DEFAULT '{}'::jsonb (after location_details)$$
    ),
    (
        '0001_property_v2', NULL, 'column', 'properties.contact_info',
        $$jsonb NOT NULL DEFAULT '{}'::jsonb (after policies)$$
    ),
    ('0001_property_v2', NULL, 'column', 'properties.cover_image', 'jsonb (after contact_info)'),
    (
        '0001_property_v2', NULL, 'column', 'properties.created_at',
        'timestamp with time zone NOT NULL DEFAULT CURRENT_TIMESTAMP (after updated_by)'
    ),
    ('0001_property_v2', NULL, 'column', 'properties.created_by', 'integer (after deleted_at)'),
    (
        '0001_property_v2', NULL, 'column', 'properties.currency',
        $$character varying(3) NOT NULL DEFAULT 'THB'::character varying (after lease_price)$$
    ),
    (
        '0001_property_v2', NULL, 'column', 'properties.deleted_at',
        'timestamp with time zone (after listing_priority)'
    ),
    ('0001_property_v2', NULL, 'column', 'properties.description', 'text NOT NULL (after title)'),
    (
        '0001_property_v2', NULL, 'column', 'properties.description_embedding_en',
        'vector(1536) (after tags)'
    ),
    (
        '0001_property_v2', NULL, 'column', 'properties.description_embedding_th',
        'vector(1536) (after description_embedding_en)'
    ),
    (
        '0001_property_v2', NULL, 'column', 'properties.id',
        'uuid NOT NULL DEFAULT gen_random_uuid()'
    ),
    (
        '0001_property_v2', NULL, 'column', 'properties.images',
        'jsonb[] NOT NULL DEFAULT ARRAY[]::jsonb[] (after cover_image)'
    ),
    (
        '0001_property_v2', NULL, 'column', 'properties.is_featured',
        'boolean NOT NULL DEFAULT false (after is_published)'
    ),
    (
        '0001_property_v2', NULL, 'column', 'properties.is_published',
        'boolean NOT NULL DEFAULT false (after description_embedding_th)'
    ),
    ('0001_property_v2', NULL, 'column', 'properties.lease_price', 'bigint (after sale_price)'),
    (
        '0001_property_v2', NULL, 'column', 'properties.listing_priority',
        'integer NOT NULL DEFAULT 0 (after is_featured)'
    ),
    (
        '0001_property_v2', NULL, 'column', 'properties.location_details',
        $$jsonb NOT NULL DEFAULT '{}'::jsonb (after physical_specs)$$
    ),
    (
        '0001_property_v2', NULL, 'column', 'properties.physical_specs',
        $$jsonb NOT NULL DEFAULT '{}'::jsonb (after currency)$$
    ),
    (
        '0001_property_v2', NULL, 'column', 'properties.policies',
        $$jsonb NOT NULL DEFAULT '{}'::jsonb (after amenities)$$
    ),
    (
        '0001_property_v2', NULL, 'column', 'properties.property_type',
        'character varying(50) NOT NULL (after transaction_type)'
    ),
    ('0001_property_v2', NULL, 'column', 'properties.rent_price', 'bigint (after property_type)'),
    ('0001_property_v2', NULL, 'column', 'properties.sale_price', 'bigint (after rent_price)'),
    (
        '0001_property_v2', NULL, 'column', 'properties.tags',
        'text[] NOT NULL DEFAULT ARRAY[]::text[] (after images)'
    ),
    (
        '0001_property_v2', NULL, 'column', 'properties.title',
        'character varying(255) NOT NULL (after id)'
    ),
    (
        '0001_property_v2', NULL, 'column', 'properties.transaction_type',
        'character varying(20) NOT NULL (after description)'
    ),
    (
        '0001_property_v2', NULL, 'column', 'properties.updated_at',
        'timestamp with time zone NOT NULL DEFAULT CURRENT_TIMESTAMP (after created_at)'
    ),
    ('0001_property_v2', NULL, 'column', 'properties.updated_by', 'integer (after created_by)'),
    (
        '0001_property_v2', NULL, 'column', 'property_translations.created_at',
        'timestamp with time zone NOT NULL DEFAULT CURRENT_TIMESTAMP (after value)'
    ),
    (
        '0001_property_v2', NULL, 'column', 'property_translations.field',
        'character varying(100) NOT NULL (after locale)'
    ),
    (
        '0001_property_v2', NULL, 'column', 'property_translations.id',
        $$integer NOT NULL DEFAULT nextval('property_translations_id_seq'::regclass)$$
    ),
    (
        '0001_property_v2', NULL, 'column', 'property_translations.locale',
        'character varying(5) NOT NULL (after property_id)'
    ),
    (
        '0001_property_v2', NULL, 'column', 'property_translations.property_id',
        'uuid NOT NULL (after id)'
    ),
    (
        '0001_property_v2', NULL, 'column', 'property_translations.updated_at',
        'timestamp with time zone NOT NULL DEFAULT CURRENT_TIMESTAMP (after created_at)'
    ),
    (
        '0001_property_v2', NULL, 'column', 'property_translations.value',
        'text NOT NULL (after field)'
    ),
    ('0001_property_v2', NULL, 'constraint', 'amenities.amenities_pkey', 'PRIMARY KEY (id)'),
    (
        '0001_property_v2', NULL, 'constraint', 'amenities.valid_amenity_category',
        $$CHECK (category = ANY (ARRAY['interior', 'exterior', 'building', 'area']))$$
    ),
    (
        '0001_property_v2', NULL, 'constraint',
        'amenity_translations.amenity_translations_amenity_id_fkey',
        'FOREIGN KEY (amenity_id) REFERENCES amenities(id) ON DELETE CASCADE'
    ),
    (
        '0001_property_v2', NULL, 'constraint', 'amenity_translations.amenity_translations_pkey',
        'PRIMARY KEY (id)'
    ),
    (
        '0001_property_v2', NULL, 'constraint', 'amenity_translations.unique_amenity_translation',
        'UNIQUE (amenity_id, locale)'
    ),
    (
        '0001_property_v2', NULL, 'constraint', 'amenity_translations.valid_locale_amenity',
        $$CHECK (locale ~ '^[a-z]{2}(-[A-Z]{2})?$')$$
    ),
    ('0001_property_v2', NULL, 'constraint', 'policies.policies_pkey', 'PRIMARY KEY (id)'),
    (
        '0001_property_v2', NULL, 'constraint', 'policies.valid_policy_category',
        $$CHECK (category = ANY (ARRAY['lease_terms', 'house_rules', 'payment']))$$
    ),
    (
        '0001_property_v2', NULL, 'constraint', 'policies.valid_policy_data_type',
        $$CHECK (data_type = ANY (ARRAY['boolean', 'integer', 'text', 'select']))$$
    ),
    (
        '0001_property_v2', NULL, 'constraint', 'policy_translations.policy_translations_pkey',
        'PRIMARY KEY (id)'
    ),
    (
        '0001_property_v2', NULL, 'constraint',
        'policy_translations.policy_translations_policy_id_fkey',
        'FOREIGN KEY (policy_id) REFERENCES policies(id) ON DELETE CASCADE'
    ),
    (
        '0001_property_v2', NULL, 'constraint', 'policy_translations.unique_policy_translation',
        'UNIQUE (policy_id, locale)'
    ),
    (
        '0001_property_v2', NULL, 'constraint', 'policy_translations.valid_locale_policy',
        $$CHECK (locale ~ '^[a-z]{2}(-[A-Z]{2})?$')$$
    ),
    (
        '0001_property_v2', NULL, 'constraint', 'properties.positive_prices',
        'CHECK ((rent_price IS NULL OR rent_price > 0) AND (sale_price IS NULL OR sale_price '
        '> 0) AND (lease_price IS NULL OR lease_price > 0))'
    ),
    (
        '0001_property_v2', NULL, 'constraint', 'properties.properties_created_by_fkey',
        'FOREIGN KEY (created_by) REFERENCES users(id) ON DELETE SET NULL'
    ),
    ('0001_property_v2', NULL, 'constraint', 'properties.properties_pkey', 'PRIMARY KEY (id)'),
    (
        '0001_property_v2', NULL, 'constraint', 'properties.properties_updated_by_fkey',
        'FOREIGN KEY (updated_by) REFERENCES users(id) ON DELETE SET NULL'
    ),
    (
        '0001_property_v2', NULL, 'constraint', 'properties.valid_currency',
        $$CHECK (currency = ANY (ARRAY['THB', 'USD', 'EUR', 'GBP', 'JPY']))$$
    ),
    (
        '0001_property_v2', NULL, 'constraint', 'properties.valid_price_for_transaction',
        'CHECK (transaction_type = ''rent'' AND rent_price IS NOT NULL OR transaction_type = '
        '''sale'' AND sale_price IS NOT NULL OR transaction_type = ''lease'' AND lease_price '
        'IS NOT NULL)'
    ),
    (
        '0001_property_v2', NULL, 'constraint', 'properties.valid_priority',
        'CHECK (listing_priority >= 0 AND listing_priority <= 999)'
    ),
    (
        '0001_property_v2', NULL, 'constraint', 'properties.valid_property_type',
        'CHECK (property_type = ANY (ARRAY[''villa'', ''condo'', ''apartment'', '
        '''townhouse'', ''house'', ''commercial'', ''land'', ''office'', ''retail'', '
        '''warehouse'']))'
    ),
    (
        '0001_property_v2', NULL, 'constraint', 'properties.valid_transaction_type',
        $$CHECK (transaction_type = ANY (ARRAY['rent', 'sale', 'lease']))$$
    ),
    (
        '0001_property_v2', NULL, 'constraint', 'property_translations.property_translations_pkey',
        'PRIMARY KEY (id)'
    ),
    (
        '0001_property_v2', NULL, 'constraint',
        'property_translations.property_translations_property_id_fkey',
        'FOREIGN KEY (property_id) REFERENCES properties(id) ON DELETE CASCADE'
    ),
    (
        '0001_property_v2', NULL, 'constraint', 'property_translations.unique_translation',
        'UNIQUE (property_id, locale, field)'
    ),
    (
        '0001_property_v2', NULL, 'constraint', 'property_translations.valid_field',
        'CHECK (field = ANY (ARRAY[''title'', ''description'', ''location_province'', '
        '''location_district'', ''location_subdistrict'', ''location_address'']))'
    ),
    (
        '0001_property_v2', NULL, 'constraint', 'property_translations.valid_locale',
        $$CHECK (locale ~ '^[a-z]{2}(-[A-Z]{2})?$')$$
    ),
    (
        '0001_property_v2', NULL, 'index', 'amenities_pkey',
        'CREATE UNIQUE INDEX amenities_pkey ON amenities USING btree (id)'
    ),
    (
        '0001_property_v2', NULL, 'index', 'amenity_translations_pkey',
        'CREATE UNIQUE INDEX amenity_translations_pkey ON amenity_translations USING btree '
        '(id)'
    ),
    (
        '0001_property_v2', NULL, 'index', 'idx_amenities_category',
        'CREATE INDEX idx_amenities_category ON amenities USING btree (category) WHERE '
        '(is_active = true)'
    ),
    (
        '0001_property_v2', NULL, 'index', 'idx_policies_category',
        'CREATE INDEX idx_policies_category ON policies USING btree (category) WHERE '
        '(is_active = true)'
    ),
    (
        '0001_property_v2', NULL, 'index', 'idx_properties_amenities',
        'CREATE INDEX idx_properties_amenities ON properties USING gin (amenities '
        'jsonb_path_ops)'
    ),
    (
        '0001_property_v2', NULL, 'index', 'idx_properties_created_by',
        'CREATE INDEX idx_properties_created_by ON properties USING btree (created_by) WHERE '
        '(deleted_at IS NULL)'
    ),
    (
        '0001_property_v2', NULL, 'index', 'idx_properties_deleted_at',
        'CREATE INDEX idx_properties_deleted_at ON properties USING btree (deleted_at) WHERE '
        '(deleted_at IS NOT NULL)'
    ),
    (
        '0001_property_v2', NULL, 'index', 'idx_properties_listing',
        'CREATE INDEX idx_properties_listing ON properties USING btree (listing_priority '
        'DESC, created_at DESC) WHERE (deleted_at IS NULL)'
    ),
    (
        '0001_property_v2', NULL, 'index', 'idx_properties_location_details',
        'CREATE INDEX idx_properties_location_details ON properties USING gin '
        '(location_details jsonb_path_ops)'
    ),
    (
        '0001_property_v2', NULL, 'index', 'idx_properties_physical_specs',
        'CREATE INDEX idx_properties_physical_specs ON properties USING gin (physical_specs '
        'jsonb_path_ops)'
    ),
    (
        '0001_property_v2', NULL, 'index', 'idx_properties_policies',
        'CREATE INDEX idx_properties_policies ON properties USING gin (policies '
        'jsonb_path_ops)'
    ),
    (
        '0001_property_v2', NULL, 'index', 'idx_properties_tags',
        'CREATE INDEX idx_properties_tags ON properties USING gin (tags)'
    ),
    (
        '0001_property_v2', NULL, 'index', 'idx_properties_transaction_price',
        'CREATE INDEX idx_properties_transaction_price ON properties USING btree '
        '(transaction_type, rent_price, sale_price, lease_price) WHERE ((is_published = true)'
        ' AND (deleted_at IS NULL))'
    ),
    (
        '0001_property_v2', NULL, 'index', 'idx_properties_type',
        'CREATE INDEX idx_properties_type ON properties USING btree (property_type) WHERE '
        '((is_published = true) AND (deleted_at IS NULL))'
    ),
    (
        '0001_property_v2', NULL, 'index', 'idx_property_translations_locale',
        'CREATE INDEX idx_property_translations_locale ON property_translations USING btree '
        '(locale)'
    ),
    (
        '0001_property_v2', NULL, 'index', 'idx_property_translations_lookup',
        'CREATE INDEX idx_property_translations_lookup ON property_translations USING btree '
        '(property_id, locale)'
    ),
    (
        '0001_property_v2', NULL, 'index', 'policies_pkey',
        'CREATE UNIQUE INDEX policies_pkey ON policies USING btree (id)'
    ),
    (
        '0001_property_v2', NULL, 'index', 'policy_translations_pkey',
        'CREATE UNIQUE INDEX policy_translations_pkey ON policy_translations USING btree (id)'
    ),
    (
        '0001_property_v2', NULL, 'index', 'properties_pkey',
        'CREATE UNIQUE INDEX properties_pkey ON properties USING btree (id)'
    ),
    (
        '0001_property_v2', NULL, 'index', 'property_translations_pkey',
        'CREATE UNIQUE INDEX property_translations_pkey ON property_translations USING btree '
        '(id)'
    ),
    (
        '0001_property_v2', NULL, 'index', 'unique_amenity_translation',
        'CREATE UNIQUE INDEX unique_amenity_translation ON amenity_translations USING btree '
        '(amenity_id, locale)'
    ),
    (
        '0001_property_v2', NULL, 'index', 'unique_policy_translation',
        'CREATE UNIQUE INDEX unique_policy_translation ON policy_translations USING btree '
        '(policy_id, locale)'
    ),
    (
        '0001_property_v2', NULL, 'index', 'unique_translation',
        'CREATE UNIQUE INDEX unique_translation ON property_translations USING btree '
        '(property_id, locale, field)'
    ),
    (
        '0001_property_v2', NULL, 'trigger', 'amenities.update_amenities_updated_at',
        'CREATE TRIGGER update_amenities_updated_at BEFORE UPDATE ON amenities FOR EACH ROW '
        'EXECUTE FUNCTION update_updated_at_column()'
    ),
    (
        '0001_property_v2', NULL, 'trigger',
        'amenity_translations.update_amenity_translations_updated_at',
        'CREATE TRIGGER update_amenity_translations_updated_at BEFORE UPDATE ON '
        'amenity_translations FOR EACH ROW EXECUTE FUNCTION update_updated_at_column()'
    ),
    (
        '0001_property_v2', NULL, 'trigger', 'policies.update_policies_updated_at',
        'CREATE TRIGGER update_policies_updated_at BEFORE UPDATE ON policies FOR EACH ROW '
        'EXECUTE FUNCTION update_updated_at_column()'
    ),
    (
        '0001_property_v2', NULL, 'trigger',
        'policy_translations.update_policy_translations_updated_at',
        'CREATE TRIGGER update_policy_translations_updated_at BEFORE UPDATE ON '
        'policy_translations FOR EACH ROW EXECUTE FUNCTION update_updated_at_column()'
    ),
    (
        '0001_property_v2', NULL, 'trigger', 'properties.update_properties_updated_at',
        'CREATE TRIGGER update_properties_updated_at BEFORE UPDATE ON properties FOR EACH ROW'
        ' EXECUTE FUNCTION update_updated_at_column()'
    ),
    (
        '0001_property_v2', NULL, 'trigger',
        'property_translations.update_property_translations_updated_at',
        'CREATE TRIGGER update_property_translations_updated_at BEFORE UPDATE ON '
        'property_translations FOR EACH ROW EXECUTE FUNCTION update_updated_at_column()'
    ),
    (
        '0001_property_v2', NULL, 'function', 'update_updated_at_column()',
        'trigger plpgsql begin new.updated_at = current_timestamp; return new; end'
    ),
    (
        '0001_property_v2', NULL, 'sequence', 'amenity_translations_id_seq',
        'integer start 1 by 1 from 1 to 2147483647 cache 1 owned by amenity_translations.id'
    ),
    (
        '0001_property_v2', NULL, 'sequence', 'policy_translations_id_seq',
        'integer start 1 by 1 from 1 to 2147483647 cache 1 owned by policy_translations.id'
    ),
    (
        '0001_property_v2', NULL, 'sequence', 'property_translations_id_seq',
        'integer start 1 by 1 from 1 to 2147483647 cache 1 owned by property_translations.id'
    ),
    (
        '0001_property_v2', NULL, 'comment', 'amenity_translations.locale',
        'Language, or language and country: en, th, en-GB'
    ),
    (
        '0001_property_v2', NULL, 'comment', 'policy_translations.locale',
        'Language, or language and country: en, th, en-GB'
    ),
    (
        '0001_property_v2', NULL, 'comment', 'properties',
        'Main properties table with hybrid localization (JSONB + translations table)'
    ),
    (
        '0001_property_v2', NULL, 'comment', 'properties.amenities',
        'JSONB: amenity IDs categorized by type (interior/exterior/building/area)'
    ),
    (
        '0001_property_v2', NULL, 'comment', 'properties.contact_info',
        'JSONB: phone, email, line_id, preferred_contact, etc.'
    ),
    (
        '0001_property_v2', NULL, 'comment', 'properties.cover_image',
        'JSONB: url, alt, width, height, format'
    ),
    (
        '0001_property_v2', NULL, 'comment', 'properties.description_embedding_en',
        'Future: vector embedding for semantic search (English)'
    ),
    (
        '0001_property_v2', NULL, 'comment', 'properties.images',
        'JSONB each: url, alt, width, height, format; in the order shown'
    ),
    (
        '0001_property_v2', NULL, 'comment', 'properties.lease_price',
        'Lease price in smallest currency unit (satang/cents)'
    ),
    (
        '0001_property_v2', NULL, 'comment', 'properties.location_details',
        'JSONB: administrative (province_id, district_id, etc.), coordinates, '
        'nearby_landmarks'
    ),
    (
        '0001_property_v2', NULL, 'comment', 'properties.physical_specs',
        'JSONB: rooms, sizes, floors, year_built, etc.'
    ),
    (
        '0001_property_v2', NULL, 'comment', 'properties.policies',
        'JSONB: values by policy ID, in categories (lease_terms/house_rules/payment)'
    ),
    (
        '0001_property_v2', NULL, 'comment', 'properties.rent_price',
        'Monthly rent in smallest currency unit (satang/cents)'
    ),
    (
        '0001_property_v2', NULL, 'comment', 'properties.sale_price',
        'Sale price in smallest currency unit (satang/cents)'
    ),
    (
        '0001_property_v2', NULL, 'comment', 'property_translations',
        'Localized text for properties (title, description, location names)'
    ),
    (
        '0001_property_v2', NULL, 'comment', 'property_translations.locale',
        'Language, or language and country: en, th, en-GB'
    )
    -- end of what make renew writes
),

-- PostgreSQL writes definitions by the settings of the session. Here they are the same for
-- everybody, until the end of the statement: whatever is read below is read through relations.
settings AS MATERIALIZED (
    SELECT
        concat(
            set_config('search_path', concat_ws(', ', 'public', (
                SELECT quote_ident(n.nspname)
                FROM pg_extension AS e
                INNER JOIN pg_namespace AS n ON e.extnamespace = n.oid
                WHERE e.extname = 'vector' AND n.nspname <> 'public'
            ), 'pg_temp'), TRUE),
            set_config('quote_all_identifiers', 'off', TRUE),
            set_config('datestyle', 'ISO, YMD', TRUE),
            set_config('intervalstyle', 'postgres', TRUE),
            set_config('timezone', 'UTC', TRUE),
            set_config('extra_float_digits', '1', TRUE),
            set_config('bytea_output', 'hex', TRUE)
        ) AS done
),

relations AS MATERIALIZED (
    SELECT
        c.*,
        properties.relowner AS owner_of_all,
        -- To write some definitions, PostgreSQL waits for whoever drops the table. Where names are
        -- enough (state), only what is known by its definition is asked for it.
        coalesce(current_setting('property_v2.names_only', TRUE), '') <> 'on'
        OR c.relname IN (
            SELECT split_part(e.name, '.', 1)
            FROM expected AS e
            INNER JOIN expected AS o
                ON e.migration = o.removed_by AND e.kind = o.kind AND e.name = o.name
        ) AS is_defined
    FROM pg_class AS c
    INNER JOIN settings ON settings.done <> ''
    LEFT JOIN pg_class AS properties ON properties.oid = to_regclass('public.properties')
    WHERE c.relnamespace = 'public'::regnamespace AND c.relname NOT LIKE '%yoyo%'
),

-- What is there. It says the same on every supported version.
catalog (kind, table_name, name, definition, owned_by) AS (
    SELECT
        CASE c.relkind
            WHEN 'v' THEN 'view'
            WHEN 'm' THEN 'materialized view'
            WHEN 'c' THEN 'composite type'
            ELSE 'table'
        END,
        c.relname,
        c.relname::text,
        concat_ws(
            ' ',
            CASE
                WHEN c.relkind = 'r' THEN 'ordinary table'
                WHEN c.relkind IN ('v', 'm') AND c.is_defined THEN pg_get_viewdef(c.oid)
                ELSE format('relation of kind %s', c.relkind)
            END,
            CASE c.relpersistence WHEN 'u' THEN '(unlogged)' END,
            CASE WHEN c.relrowsecurity OR c.relforcerowsecurity THEN '(row security)' END,
            CASE
                WHEN
                    c.relkind = 'r' AND EXISTS (
                        SELECT FROM pg_rewrite AS r
                        WHERE r.ev_class = c.oid
                    )
                    THEN '(rules)'
            END,
            CASE
                WHEN
                    EXISTS (
                        SELECT FROM pg_inherits AS i
                        WHERE c.oid IN (i.inhrelid, i.inhparent)
                    )
                    THEN '(inheritance)'
            END,
            CASE
                WHEN c.relowner <> c.owner_of_all
                    THEN format('(owned by %s)', c.relowner::regrole)
            END
        ),
        c.relowner
    FROM relations AS c
    WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm', 'c')
    UNION ALL
    SELECT
        'column',
        c.relname,
        c.relname || '.' || a.attname,
        concat_ws(
            ' ',
            format_type(a.atttypid, a.atttypmod),
            CASE
                WHEN a.attcollation <> t.typcollation
                    THEN 'COLLATE ' || a.attcollation::regcollation
            END,
            CASE WHEN a.attstorage <> t.typstorage THEN format('(storage %s)', a.attstorage) END,
            CASE WHEN a.attnotnull THEN 'NOT NULL' END,
            CASE WHEN n.oid IS NOT NULL THEN 'NOT VALID' END,
            CASE a.attidentity
                WHEN 'a' THEN 'GENERATED ALWAYS AS IDENTITY'
                WHEN 'd' THEN 'GENERATED BY DEFAULT AS IDENTITY'
            END,
            CASE
                WHEN a.attgenerated = '' THEN 'DEFAULT ' || pg_get_expr(d.adbin, 0)
                WHEN c.is_defined
                    THEN 'GENERATED ALWAYS AS (' || pg_get_expr(d.adbin, d.adrelid) || ')'
            END,
            CASE a.attgenerated WHEN 's' THEN 'STORED' WHEN 'v' THEN 'VIRTUAL' END,
            '(after ' || lag(a.attname) OVER (PARTITION BY c.oid ORDER BY a.attnum) || ')'
        ),
        c.relowner
    FROM relations AS c
    INNER JOIN pg_attribute AS a ON c.oid = a.attrelid
    INNER JOIN pg_type AS t ON a.atttypid = t.oid
    LEFT JOIN pg_attrdef AS d ON a.attrelid = d.adrelid AND a.attnum = d.adnum
    LEFT JOIN pg_constraint AS n -- PostgreSQL 18 has NOT NULL there, and may not have checked it
        ON c.oid = n.conrelid AND n.contype = 'n' AND NOT n.convalidated AND a.attnum = n.conkey[1]
    WHERE c.relkind IN ('r', 'p', 'f') AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT
        'constraint',
        c.relname,
        c.relname || '.' || k.conname,
        concat_ws(
            ' ',
            -- A dump that was restored has other casts between text types.
            regexp_replace(
                CASE WHEN c.is_defined THEN pg_get_constraintdef(k.oid, TRUE) END,
                '::(text|character varying)(\[\])?', '', 'g'
            ),
            -- Triggers enforce a foreign key: ALTER TABLE name DISABLE TRIGGER ALL stops them.
            CASE
                WHEN
                    EXISTS (
                        SELECT FROM pg_trigger AS t
                        WHERE t.tgconstraint = k.oid AND t.tgenabled <> 'O'
                    )
                    THEN '(triggers disabled)'
            END
        ),
        c.relowner
    FROM relations AS c
    INNER JOIN pg_constraint AS k ON c.oid = k.conrelid
    -- NOT NULL: see the columns. One with a parent is its parent's, for a partition of users.
    WHERE k.contype <> 'n' AND k.conparentid = 0
    UNION ALL
    SELECT
        'index',
        t.relname,
        c.relname::text,
        concat_ws(
            ' ',
            CASE
                WHEN c.is_defined THEN replace(pg_get_indexdef(c.oid), ' ON public.', ' ON ')
            END,
            CASE WHEN NOT i.indisvalid THEN '(invalid)' END,
            CASE WHEN NOT (i.indisready AND i.indislive) THEN '(not ready)' END
        ),
        c.relowner
    FROM relations AS c
    INNER JOIN pg_index AS i ON c.oid = i.indexrelid
    INNER JOIN relations AS t ON i.indrelid = t.oid
    UNION ALL
    SELECT
        'trigger',
        c.relname,
        c.relname || '.' || t.tgname,
        concat_ws(
            ' ',
            replace(pg_get_triggerdef(t.oid), ' ON public.', ' ON '),
            CASE t.tgenabled
                WHEN 'D' THEN '(disabled)'
                WHEN 'R' THEN '(on a replica only)'
                WHEN 'A' THEN '(on a replica too)'
            END
        ),
        c.relowner
    FROM relations AS c
    INNER JOIN pg_trigger AS t ON c.oid = t.tgrelid
    WHERE NOT t.tgisinternal
    UNION ALL
    -- White space and case aside. It may be shared: its owner is the owner of the tables or a role
    -- that this one belongs to.
    SELECT
        'function',
        NULL,
        format('%s(%s)', p.proname, pg_get_function_identity_arguments(p.oid)),
        concat_ws(
            ' ',
            format_type(p.prorettype, NULL),
            l.lanname,
            trim(BOTH ' ;' FROM regexp_replace(lower(p.prosrc), '\s+', ' ', 'g')),
            CASE WHEN p.prosecdef THEN '(security definer)' END,
            CASE p.provolatile WHEN 'v' THEN NULL ELSE '(not volatile)' END,
            '(' || array_to_string(p.proconfig, ', ') || ')',
            CASE -- one that was there before the migration is shared, whose ever it is
                WHEN
                    NOT pg_has_role(o.owner_of_all, p.proowner, 'MEMBER')
                    AND obj_description(p.oid, 'pg_proc') LIKE '%(created by %'
                    THEN format('(owned by %s)', p.proowner::regrole)
            END
        ),
        p.proowner
    FROM (
        SELECT max(r.owner_of_all::bigint)::oid AS owner_of_all
        FROM relations AS r
    ) AS o
    CROSS JOIN pg_proc AS p
    INNER JOIN pg_language AS l ON p.prolang = l.oid
    WHERE
        p.pronamespace = 'public'::regnamespace
        AND NOT EXISTS (
            SELECT FROM pg_depend AS d
            WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
        )
    UNION ALL
    SELECT
        'sequence',
        t.relname,
        c.relname::text,
        concat_ws(
            ' ',
            format(
                '%s start %s by %s from %s to %s cache %s',
                s.seqtypid::regtype, s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache
            ),
            CASE WHEN s.seqcycle THEN 'cycle' END,
            CASE c.relpersistence WHEN 'u' THEN 'unlogged' END,
            format('owned by %s.%s', t.relname, a.attname)
        ),
        c.relowner
    FROM relations AS c
    INNER JOIN pg_sequence AS s ON c.oid = s.seqrelid
    LEFT JOIN pg_depend AS d
        ON
            c.oid = d.objid
            AND d.classid = 'pg_class'::regclass
            AND d.refclassid = 'pg_class'::regclass
            AND d.deptype IN ('a', 'i')
    LEFT JOIN pg_class AS t ON d.refobjid = t.oid
    LEFT JOIN pg_attribute AS a ON d.refobjid = a.attrelid AND d.refobjsubid = a.attnum
    UNION ALL
    SELECT
        'comment',
        c.relname,
        concat_ws('.', c.relname, a.attname),
        d.description,
        c.relowner
    FROM relations AS c
    INNER JOIN pg_description AS d ON c.oid = d.objoid AND d.classoid = 'pg_class'::regclass
    LEFT JOIN pg_attribute AS a
        ON d.objoid = a.attrelid AND d.objsubid = a.attnum AND d.objsubid > 0
    WHERE c.relkind IN ('r', 'p', 'f')
    UNION ALL
    SELECT
        'type',
        NULL,
        t.typname::text,
        concat_ws(
            ' ',
            format('type of kind %s', t.typtype),
            format_type(nullif(t.typbasetype, 0), t.typtypmod),
            (
                SELECT string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder)
                FROM pg_enum AS e
                WHERE e.enumtypid = t.oid
            )
        ),
        t.typowner
    FROM pg_type AS t
    WHERE
        t.typnamespace = 'public'::regnamespace
        AND t.typrelid = 0
        AND t.typelem = 0
        AND NOT EXISTS (
            SELECT FROM pg_depend AS d
            WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e'
        )
),

-- What stands on the migrations' tables, or has one of their names
ours AS (
    SELECT catalog.*
    FROM catalog
    WHERE
        (catalog.kind, catalog.name) IN (
            SELECT
                expected.kind,
                expected.name
            FROM expected
        )
        OR catalog.table_name IN (
            SELECT expected.name
            FROM expected
            WHERE expected.kind = 'table'
        )
),

compared (kind, name, is_so, expected, found, migration, table_name, own_name) AS (
    SELECT
        coalesce(e.kind, o.kind),
        coalesce(e.name, o.name),
        coalesce(e.definition = o.definition, FALSE),
        e.definition,
        o.definition AS found,
        coalesce(e.migration, (
            SELECT gone.removed_by
            FROM expected AS gone
            WHERE gone.kind = o.kind AND gone.name = o.name AND gone.definition = o.definition
        )),
        quote_ident(split_part(coalesce(e.name, o.name), '.', 1)),
        quote_ident(substring(coalesce(e.name, o.name) FROM '[^.]*$'))
    FROM ours AS o
    FULL JOIN expected AS e ON o.kind = e.kind AND o.name = e.name AND e.removed_by IS NULL
    WHERE o.kind IS NOT NULL OR e.removed_by IS NULL
)

-- What is shown; validation/expectation.py asks the same for other things.
SELECT
    CASE c.kind WHEN 'index' THEN 'indexes' WHEN 'function' THEN c.kind ELSE c.kind || 's' END
        AS check_name,
    CASE WHEN c.is_so THEN 'pass' ELSE 'fail' END AS status,
    CASE
        WHEN c.is_so AND c.kind = 'function' THEN c.name || ' as specified'
        WHEN c.is_so THEN format('%s: %s', c.name, c.found)
        ELSE format(
            '%s: expected %s; found %s',
            c.name, coalesce(c.expected, 'nothing'), coalesce(c.found, 'nothing')
        )
    END AS found,
    CASE
        -- Nothing of a later migration: it may not be applied yet, and is not to be made by hand.
        WHEN
            NOT c.is_so
            AND c.migration > (
                SELECT min(expected.migration)
                FROM expected
            )
            AND bool_and(NOT c.is_so OR c.kind = 'function') OVER (PARTITION BY c.migration)
            THEN format('Apply %s (make migrate); if it is applied: ', c.migration)
        ELSE ''
    END || CASE
        WHEN c.is_so THEN NULL
        WHEN c.kind = 'function'
            THEN format('Take it from migrations/%s.sql; see first who else uses it.', c.migration)
        WHEN c.kind = 'comment'
            THEN format(
                'COMMENT ON %s %s IS %s;',
                CASE WHEN c.name LIKE '%.%' THEN 'COLUMN' ELSE 'TABLE' END,
                c.name, coalesce(quote_literal(c.expected), 'NULL')
            )
        WHEN c.kind = 'constraint' AND c.found LIKE '%(triggers disabled)'
            THEN format('ALTER TABLE %s ENABLE TRIGGER ALL;', c.table_name)
        WHEN c.kind = 'trigger' AND starts_with(c.found, c.expected || ' (')
            THEN format('ALTER TABLE %s ENABLE TRIGGER %s;', c.table_name, c.own_name)
        WHEN c.kind IN ('constraint', 'index', 'trigger')
            THEN concat_ws(
                ' ',
                CASE
                    WHEN c.found IS NULL THEN NULL
                    WHEN c.kind = 'constraint'
                        THEN format(
                            'ALTER TABLE %s DROP CONSTRAINT %s;', c.table_name, c.own_name
                        )
                    WHEN c.kind = 'index' THEN format('DROP INDEX CONCURRENTLY %s;', c.own_name)
                    ELSE format('DROP TRIGGER %s ON %s;', c.own_name, c.table_name)
                END,
                CASE c.kind
                    WHEN 'constraint'
                        THEN format(
                            'ALTER TABLE %s ADD CONSTRAINT %s ', c.table_name, c.own_name
                        ) || c.expected
                    WHEN 'index' THEN replace(c.expected, ' INDEX ', ' INDEX CONCURRENTLY ')
                    ELSE c.expected
                END || ';'
            )
        WHEN c.expected IS NULL AND c.kind = 'column'
            THEN format(
                'If nobody needs it: ALTER TABLE %s DROP COLUMN %s;', c.table_name, c.own_name
            )
        WHEN c.expected IS NULL
            THEN format('If nobody needs it: DROP %s %s;', upper(c.kind), c.own_name)
        WHEN c.kind = 'column' AND c.found IS NULL
            THEN format(
                'ALTER TABLE %s ADD COLUMN %s %s;',
                c.table_name, c.own_name, regexp_replace(c.expected, ' \(after \S+\)$', '')
            )
        WHEN c.kind = 'column'
            THEN format(
                'Bring it back with ALTER TABLE %s ALTER COLUMN %s.', c.table_name, c.own_name
            )
        WHEN c.kind = 'sequence'
            THEN format(
                'CREATE SEQUENCE or ALTER SEQUENCE %s, so that it is as expected.', c.own_name
            )
        WHEN c.found IS NULL THEN 'Roll back and apply again, or restore it from a backup.'
        ELSE format(
            'See what changed (\d+ %s) and undo it; all tables have one owner.', c.name
        )
    END AS what_to_do
FROM compared AS c
ORDER BY
    array_position(
        ARRAY[
            'table', 'column', 'constraint', 'index', 'trigger', 'function', 'sequence', 'comment'
        ], c.kind
    ),
    c.name;
