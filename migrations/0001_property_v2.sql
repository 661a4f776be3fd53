-- Property V2: listings, amenities and policies, each with its translations.
--
-- What it does   Creates 6 tables, 3 sequences, 14 indexes, 6 triggers and their one function.
--                Needs the extension vector and the table users, and changes no row.
-- Locks          Everything but the last statement locks only what it creates. The last one
--                takes SHARE ROW EXCLUSIVE on users, for milliseconds and the commit, which may
--                wait for a synchronous standby: reads go on, writes wait.
-- Safe when      the application runs. Whoever holds users is waited for in short tries; after
--                one minute it gives up with SQLSTATE 55P03, names the sessions in the way and
--                leaves nothing behind.
-- Not safe when  update_updated_at_column() exists and does something else, or the current
--                schema is not public: refused. Outside a transaction a failure would leave
--                half of it: without yoyo, psql -X -1 -v ON_ERROR_STOP=1 -f FILE.
-- Before, after  python -m validation check, python -m validation validate
-- Proven by      tests/test_schema.py (shape and rules), tests/test_round_trip.py (applies,
--                reverts, applies), tests/test_lock_patience.py (waits of other sessions)

-- Nothing below should have to wait, and a client that falls silent keeps no lock for long: the
-- server ends an idle transaction, and TCP notices the loss of a client while a statement runs.
-- These replace what the role or the database sets.
SET LOCAL lock_timeout = '2s';
SET LOCAL statement_timeout = 0;
SET LOCAL idle_in_transaction_session_timeout = '10s';
SET LOCAL tcp_keepalives_idle = 5;
SET LOCAL tcp_keepalives_interval = 2;
SET LOCAL tcp_keepalives_count = 3;
SET LOCAL tcp_user_timeout = '11s';
-- In pg_stat_activity everybody sees what is at work.
SET LOCAL application_name = '0001_property_v2';

DO $$ -- one transaction, in schema public, without the role's own limits
BEGIN
    IF current_setting('lock_timeout') <> '2s' THEN -- SET LOCAL did nothing
        RAISE EXCEPTION 'this file must run in one transaction'
            USING ERRCODE = 'no_active_sql_transaction',
                HINT = 'Use yoyo apply, or psql -X -1 -v ON_ERROR_STOP=1 -f FILE.';
    END IF;
    IF current_schema() IS DISTINCT FROM 'public' THEN
        RAISE EXCEPTION 'the current schema is %, not public', coalesce(current_schema(), 'none')
            USING ERRCODE = 'invalid_schema_name',
                HINT = 'Set the role''s search_path so that public comes first.';
    END IF;
    IF current_setting('transaction_timeout', true) IS NOT NULL THEN -- PostgreSQL 17 and later
        PERFORM set_config('transaction_timeout', '0', true);
    END IF;
    BEGIN -- without this, the session of a killed client would go on trying for its minute
        PERFORM set_config('client_connection_check_interval', '500ms', true);
    EXCEPTION WHEN invalid_parameter_value THEN
        NULL; -- a server on Windows cannot see that its client is gone
    END;
END;
$$;


------------------------------------------------------------------------------------------------
-- Shared trigger function
------------------------------------------------------------------------------------------------

-- Other tables may use a function of this name already: the same one is shared, another one is
-- never overwritten. The comment tells the rollback whose it is.
DO $do$ -- update_updated_at_column()
DECLARE
    existing text := (
        SELECT rtrim(regexp_replace(lower(prosrc), '\s', '', 'g'), ';')
        FROM pg_proc
        WHERE oid = to_regprocedure('public.update_updated_at_column()')
    );
BEGIN
    IF existing IS NULL THEN
        CREATE FUNCTION update_updated_at_column() RETURNS trigger LANGUAGE plpgsql AS $body$
        BEGIN
            NEW.updated_at = CURRENT_TIMESTAMP;
            RETURN NEW;
        END;
        $body$;
        COMMENT ON FUNCTION update_updated_at_column()
            IS 'Sets updated_at on every update (created by 0001_property_v2)';
    ELSIF existing <> 'beginnew.updated_at=current_timestamp;returnnew;end' THEN
        RAISE EXCEPTION 'a different function update_updated_at_column() exists'
            USING ERRCODE = 'duplicate_function',
                HINT = 'Compare it with this file: \sf update_updated_at_column';
    END IF;
END;
$do$;


------------------------------------------------------------------------------------------------
-- amenities
------------------------------------------------------------------------------------------------

CREATE TABLE amenities (
    id         varchar(100) PRIMARY KEY, -- a readable key: air_conditioning, near_bts
    category   varchar(50)  NOT NULL, -- the key in properties.amenities under which it is listed
    icon       varchar(100),
    sort_order integer      NOT NULL DEFAULT 0,
    is_active  boolean      NOT NULL DEFAULT TRUE,
    created_at timestamptz  NOT NULL DEFAULT current_timestamp,
    updated_at timestamptz  NOT NULL DEFAULT current_timestamp,
    CONSTRAINT valid_amenity_category CHECK (
        category IN ('interior', 'exterior', 'building', 'area')
    )
);

CREATE TRIGGER update_amenities_updated_at
BEFORE UPDATE ON amenities
FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();


CREATE TABLE amenity_translations (
    id         serial       PRIMARY KEY,
    amenity_id varchar(100) NOT NULL, -- references amenities.id
    locale     varchar(5)   NOT NULL,
    name       varchar(255) NOT NULL,
    created_at timestamptz  NOT NULL DEFAULT current_timestamp,
    updated_at timestamptz  NOT NULL DEFAULT current_timestamp,
    CONSTRAINT amenity_translations_amenity_id_fkey FOREIGN KEY (amenity_id)
    REFERENCES amenities (id) ON DELETE CASCADE,
    CONSTRAINT unique_amenity_translation UNIQUE (amenity_id, locale),
    CONSTRAINT valid_locale_amenity CHECK (locale ~ '^[a-z]{2}(-[A-Z]{2})?$')
);

COMMENT ON COLUMN amenity_translations.locale
IS 'Language, or language and country: en, th, en-GB';

CREATE TRIGGER update_amenity_translations_updated_at
BEFORE UPDATE ON amenity_translations
FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();


------------------------------------------------------------------------------------------------
-- policies
------------------------------------------------------------------------------------------------

CREATE TABLE policies (
    id         varchar(100) PRIMARY KEY, -- a readable key: pets_allowed, deposit_months
    category   varchar(50)  NOT NULL, -- the key in properties.policies under which it is found
    data_type  varchar(20)  NOT NULL, -- of its value there
    is_active  boolean      NOT NULL DEFAULT TRUE,
    sort_order integer      NOT NULL DEFAULT 0,
    created_at timestamptz  NOT NULL DEFAULT current_timestamp,
    updated_at timestamptz  NOT NULL DEFAULT current_timestamp,
    CONSTRAINT valid_policy_category CHECK (
        category IN ('lease_terms', 'house_rules', 'payment')
    ),
    CONSTRAINT valid_policy_data_type CHECK (
        data_type IN ('boolean', 'integer', 'text', 'select')
    )
);

CREATE TRIGGER update_policies_updated_at
BEFORE UPDATE ON policies
FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();


CREATE TABLE policy_translations (
    id          serial       PRIMARY KEY,
    policy_id   varchar(100) NOT NULL, -- references policies.id
    locale      varchar(5)   NOT NULL,
    name        varchar(255) NOT NULL,
    description text,
    created_at  timestamptz  NOT NULL DEFAULT current_timestamp,
    updated_at  timestamptz  NOT NULL DEFAULT current_timestamp,
    CONSTRAINT policy_translations_policy_id_fkey FOREIGN KEY (policy_id)
    REFERENCES policies (id) ON DELETE CASCADE,
    CONSTRAINT unique_policy_translation UNIQUE (policy_id, locale),
    CONSTRAINT valid_locale_policy CHECK (locale ~ '^[a-z]{2}(-[A-Z]{2})?$')
);

COMMENT ON COLUMN policy_translations.locale
IS 'Language, or language and country: en, th, en-GB';

CREATE TRIGGER update_policy_translations_updated_at
BEFORE UPDATE ON policy_translations
FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();


------------------------------------------------------------------------------------------------
-- properties
------------------------------------------------------------------------------------------------

CREATE TABLE properties (
    id                       uuid         PRIMARY KEY DEFAULT gen_random_uuid(),

    -- The English text, shown where no translation exists
    title                    varchar(255) NOT NULL,
    description              text         NOT NULL,

    transaction_type         varchar(20)  NOT NULL,
    property_type            varchar(50)  NOT NULL,

    -- The price that belongs to transaction_type must be there, the others may be
    rent_price               bigint,
    sale_price               bigint,
    lease_price              bigint,
    currency                 varchar(3)   NOT NULL    DEFAULT 'THB', -- ISO 4217

    physical_specs           jsonb        NOT NULL    DEFAULT '{}'::jsonb,
    location_details         jsonb        NOT NULL    DEFAULT '{}'::jsonb,
    amenities                jsonb        NOT NULL    DEFAULT '{}'::jsonb,
    policies                 jsonb        NOT NULL    DEFAULT '{}'::jsonb,
    contact_info             jsonb        NOT NULL    DEFAULT '{}'::jsonb,

    cover_image              jsonb,
    images                   jsonb[]      NOT NULL    DEFAULT ARRAY[]::jsonb[],
    tags                     text[]       NOT NULL    DEFAULT ARRAY[]::text[],

    -- For semantic search; the vector index comes with it
    description_embedding_en vector(1536),
    description_embedding_th vector(1536),

    is_published             boolean      NOT NULL    DEFAULT FALSE,
    is_featured              boolean      NOT NULL    DEFAULT FALSE,
    listing_priority         integer      NOT NULL    DEFAULT 0, -- the highest is listed first

    deleted_at               timestamptz, -- soft delete: null while the row counts
    created_by               integer, -- references users.id
    updated_by               integer, -- references users.id
    created_at               timestamptz  NOT NULL    DEFAULT current_timestamp,
    updated_at               timestamptz  NOT NULL    DEFAULT current_timestamp,

    CONSTRAINT valid_transaction_type CHECK (
        transaction_type IN ('rent', 'sale', 'lease')
    ),
    CONSTRAINT valid_property_type CHECK (
        property_type IN (
            'villa', 'condo', 'apartment', 'townhouse', 'house',
            'commercial', 'land', 'office', 'retail', 'warehouse'
        )
    ),
    CONSTRAINT valid_currency CHECK (
        currency IN ('THB', 'USD', 'EUR', 'GBP', 'JPY')
    ),
    CONSTRAINT valid_price_for_transaction CHECK (
        (transaction_type = 'rent' AND rent_price IS NOT NULL)
        OR (transaction_type = 'sale' AND sale_price IS NOT NULL)
        OR (transaction_type = 'lease' AND lease_price IS NOT NULL)
    ),
    CONSTRAINT positive_prices CHECK (
        (rent_price IS NULL OR rent_price > 0)
        AND (sale_price IS NULL OR sale_price > 0)
        AND (lease_price IS NULL OR lease_price > 0)
    ),
    CONSTRAINT valid_priority CHECK (
        listing_priority >= 0 AND listing_priority <= 999
    )
);

COMMENT ON TABLE properties
IS 'Main properties table with hybrid localization (JSONB + translations table)';
COMMENT ON COLUMN properties.rent_price
IS 'Monthly rent in smallest currency unit (satang/cents)';
COMMENT ON COLUMN properties.sale_price
IS 'Sale price in smallest currency unit (satang/cents)';
COMMENT ON COLUMN properties.lease_price
IS 'Lease price in smallest currency unit (satang/cents)';
COMMENT ON COLUMN properties.physical_specs
IS 'JSONB: rooms, sizes, floors, year_built, etc.';
COMMENT ON COLUMN properties.location_details
IS 'JSONB: administrative (province_id, district_id, etc.), coordinates, nearby_landmarks';
COMMENT ON COLUMN properties.amenities
IS 'JSONB: amenity IDs categorized by type (interior/exterior/building/area)';
COMMENT ON COLUMN properties.policies
IS 'JSONB: values by policy ID, in categories (lease_terms/house_rules/payment)';
COMMENT ON COLUMN properties.contact_info
IS 'JSONB: phone, email, line_id, preferred_contact, etc.';
COMMENT ON COLUMN properties.cover_image
IS 'JSONB: url, alt, width, height, format';
COMMENT ON COLUMN properties.images
IS 'JSONB each: url, alt, width, height, format; in the order shown';
COMMENT ON COLUMN properties.description_embedding_en
IS 'Future: vector embedding for semantic search (English)';

CREATE TRIGGER update_properties_updated_at
BEFORE UPDATE ON properties
FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();


CREATE TABLE property_translations (
    id          serial       PRIMARY KEY,
    property_id uuid         NOT NULL, -- references properties.id
    locale      varchar(5)   NOT NULL,
    field       varchar(100) NOT NULL,
    value       text         NOT NULL,
    created_at  timestamptz  NOT NULL DEFAULT current_timestamp,
    updated_at  timestamptz  NOT NULL DEFAULT current_timestamp,
    CONSTRAINT property_translations_property_id_fkey FOREIGN KEY (property_id)
    REFERENCES properties (id) ON DELETE CASCADE,
    CONSTRAINT unique_translation UNIQUE (property_id, locale, field),
    CONSTRAINT valid_locale CHECK (locale ~ '^[a-z]{2}(-[A-Z]{2})?$'),
    CONSTRAINT valid_field CHECK (
        field IN (
            'title', 'description', 'location_province', 'location_district',
            'location_subdistrict', 'location_address'
        )
    )
);

COMMENT ON TABLE property_translations
IS 'Localized text for properties (title, description, location names)';
COMMENT ON COLUMN property_translations.locale
IS 'Language, or language and country: en, th, en-GB';

CREATE TRIGGER update_property_translations_updated_at
BEFORE UPDATE ON property_translations
FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();


------------------------------------------------------------------------------------------------
-- Indexes. The tables are new and empty: nobody waits, CONCURRENTLY would gain nothing.
------------------------------------------------------------------------------------------------

CREATE INDEX idx_amenities_category
ON amenities (category)
WHERE is_active = TRUE;

CREATE INDEX idx_policies_category
ON policies (category)
WHERE is_active = TRUE;

-- What the site lists: published and not deleted
CREATE INDEX idx_properties_transaction_price
ON properties (transaction_type, rent_price, sale_price, lease_price)
WHERE is_published = TRUE AND deleted_at IS NULL;

CREATE INDEX idx_properties_type
ON properties (property_type)
WHERE is_published = TRUE AND deleted_at IS NULL;

CREATE INDEX idx_properties_listing
ON properties (listing_priority DESC, created_at DESC)
WHERE deleted_at IS NULL;

CREATE INDEX idx_properties_created_by
ON properties (created_by)
WHERE deleted_at IS NULL;

CREATE INDEX idx_properties_deleted_at
ON properties (deleted_at)
WHERE deleted_at IS NOT NULL;

-- jsonb_path_ops answers @>, @? and @@, and is smaller and faster than the default class
CREATE INDEX idx_properties_physical_specs
ON properties USING gin (physical_specs jsonb_path_ops);

CREATE INDEX idx_properties_amenities
ON properties USING gin (amenities jsonb_path_ops);

CREATE INDEX idx_properties_policies
ON properties USING gin (policies jsonb_path_ops);

CREATE INDEX idx_properties_location_details
ON properties USING gin (location_details jsonb_path_ops);

CREATE INDEX idx_properties_tags
ON properties USING gin (tags);

-- Covered by unique_translation; kept because the specification names it
CREATE INDEX idx_property_translations_lookup
ON property_translations (property_id, locale);

CREATE INDEX idx_property_translations_locale
ON property_translations (locale);


------------------------------------------------------------------------------------------------
-- Foreign keys to users, last: the one lock on a table that the application uses
------------------------------------------------------------------------------------------------

-- A request that waits for this lock makes every later writer of users wait behind it. So it waits
-- briefly, steps aside and tries again. Only a vacuum is waited for longer, after ten seconds: an
-- autovacuum worker yields to nobody who has waited less than deadlock_timeout. A partitioned users
-- is locked with its partitions.
DO $$ -- the foreign keys to users, in short tries
DECLARE
    started CONSTANT timestamptz := clock_timestamp();
    patience CONSTANT interval := '1 minute';
    pause double precision := 0.1; -- seconds
    in_the_way text;
BEGIN
    LOOP
        PERFORM set_config('lock_timeout', CASE
            WHEN clock_timestamp() > started + interval '10 seconds' AND EXISTS (
                SELECT FROM pg_locks
                WHERE 'users'::regclass IN (relation, pg_partition_root(relation)) AND granted
                    AND mode = 'ShareUpdateExclusiveLock'
                    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            ) THEN (500 + 1000 * extract(
                EPOCH FROM current_setting('deadlock_timeout')::interval
            ))::integer || 'ms'
            ELSE '120ms'
        END, true);
        BEGIN
            ALTER TABLE properties
            ADD CONSTRAINT properties_created_by_fkey
            FOREIGN KEY (created_by) REFERENCES users (id) ON DELETE SET NULL,
            ADD CONSTRAINT properties_updated_by_fkey
            FOREIGN KEY (updated_by) REFERENCES users (id) ON DELETE SET NULL;
            EXIT;
        EXCEPTION WHEN lock_not_available THEN
            IF clock_timestamp() > started + patience THEN
                SELECT string_agg(DISTINCT format(
                    '%s (user %s, application %s, open for %s)',
                    coalesce('pid ' || l.pid, 'prepared transaction ' || p.gid),
                    coalesce(a.usename, p.owner, a.backend_type, 'none: a background process'),
                    a.application_name,
                    coalesce(date_trunc('second', clock_timestamp() - coalesce(
                        a.xact_start, p.prepared
                    ))::text, 'a time this role may not see')
                ), ', ')
                INTO in_the_way
                FROM pg_locks AS l
                INNER JOIN pg_database AS d ON l.database = d.oid
                LEFT JOIN pg_stat_activity AS a ON l.pid = a.pid
                LEFT JOIN pg_locks AS x -- the own number of a prepared transaction
                    ON l.pid IS NULL AND x.pid IS NULL
                    AND l.virtualtransaction = x.virtualtransaction
                LEFT JOIN pg_prepared_xacts AS p ON x.transactionid = p.transaction
                WHERE d.datname = current_database()
                    AND 'users'::regclass IN (l.relation, pg_partition_root(l.relation))
                    AND l.mode NOT IN ('AccessShareLock', 'RowShareLock')
                    AND l.granted AND coalesce(l.pid::text, p.gid) IS NOT NULL;
                RAISE EXCEPTION 'no lock on users within %; in the way: %',
                    patience, coalesce(in_the_way, 'nobody any more')
                    USING ERRCODE = 'lock_not_available',
                        HINT = 'Nothing was changed. Try again when that work is done, or end it '
                            'first: SELECT pg_terminate_backend(pid).';
            END IF;
            PERFORM pg_sleep(pause * (0.75 + random() / 2));
            pause := least(pause * 1.5, 1);
        END;
    END LOOP;
END;
$$;
