"""Every rule of the specification, tried with a row that breaks it and one that keeps it.

Written from the specification by hand, for 0001 as it is before any later migration.
"""

from __future__ import annotations

from contextlib import ExitStack

import psycopg
import pytest
from psycopg import errors, sql
from psycopg.types.json import Jsonb

from .conftest import TABLES, clone

PROPERTY = {
    "title": "Villa", "description": "A villa", "transaction_type": "rent",
    "property_type": "villa", "rent_price": 3_500_000,
}  # fmt: skip
AMENITY = {"id": "wifi", "category": "interior"}
POLICY = {"id": "pets_allowed", "category": "house_rules", "data_type": "boolean"}
ROWS = {
    "amenities": AMENITY,
    "amenity_translations": {"amenity_id": "wifi", "locale": "en", "name": "Wi-Fi"},
    "policies": POLICY,
    "policy_translations": {"policy_id": "pets_allowed", "locale": "en", "name": "Pets"},
    "properties": PROPERTY,
    "property_translations": {"locale": "th", "field": "title", "value": "วิลล่า"},
}


def insert(connection: psycopg.Connection, table: str, row: dict, returning: str = "id"):
    return connection.execute(
        sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING {}").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join(sql.Placeholder() * len(row)),
            sql.Identifier(returning),
        ),
        list(row.values()),
    ).fetchone()[0]


@pytest.fixture(scope="module")
def specified(servers):
    """The name of a template with the first migration alone."""
    with ExitStack() as stack:
        for server in servers:
            database = stack.enter_context(clone(server, "unmigrated", "specified"))
            done = database.yoyo("apply", "-r", "0001_property_v2")
            assert done.returncode == 0, done.stderr
        yield "specified"


@pytest.fixture
def migrated(server, specified):
    with clone(server, specified) as database:
        yield database


@pytest.fixture
def connection(migrated):
    """A connection with one row in every table; its changes are rolled back to savepoints."""
    with migrated.connect() as connection:
        for table, row in ROWS.items():
            if table == "property_translations":
                row = {"property_id": connection.property_id, **row}
            key = insert(connection, table, row)
            if table == "properties":
                connection.property_id = key
        yield connection


def test_objects_are_counted_as_specified(migrated):
    """The counts of the specification's own migration."""
    six = "(SELECT oid FROM pg_class WHERE relkind = 'r' AND relname = ANY(%s))"
    for count, query in {
        6: f"SELECT count(*) FROM {six} AS t",
        61: f"SELECT count(*) FROM pg_attribute WHERE attrelid IN {six} AND attnum > 0",
        27: f"SELECT count(*) FROM pg_constraint WHERE contype <> 'n' AND conrelid IN {six}",
        23: f"SELECT count(*) FROM pg_index WHERE indrelid IN {six}",
        11: "SELECT count(*) FROM pg_index WHERE indrelid = 'properties'::regclass",
        3: "SELECT count(*) FROM pg_sequences WHERE sequencename LIKE '%%translations_id_seq'",
        1: "SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        " AND proname = 'update_updated_at_column'",
    }.items():
        parameters = [list(TABLES)] if "ANY" in query else []
        assert migrated.value(query, parameters) == count
    triggers = f"SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal AND tgrelid IN {six}"
    assert migrated.value(triggers, [list(TABLES)]) == 6


def test_the_tables_belong_to_an_ordinary_role(migrated):
    owners = migrated.execute(
        "SELECT DISTINCT r.rolname, r.rolsuper FROM pg_class AS c JOIN pg_roles AS r"
        " ON r.oid = c.relowner WHERE c.relname = ANY(%s)",
        [list(TABLES)],
    )
    assert owners == [("bestays", False)]


BROKEN = [
    ("amenities", {"id": "a" * 101}, errors.StringDataRightTruncation, None),
    ("amenities", {"category": "c" * 51}, errors.StringDataRightTruncation, None),
    ("amenities", {"icon": "i" * 101}, errors.StringDataRightTruncation, None),
    ("amenities", {"category": "roof"}, errors.CheckViolation, "valid_amenity_category"),
    ("amenities", {"id": "wifi"}, errors.UniqueViolation, "amenities_pkey"),
    ("amenity_translations", {"locale": "english"}, errors.StringDataRightTruncation, None),
    ("amenity_translations", {"name": "n" * 256}, errors.StringDataRightTruncation, None),
    ("amenity_translations", {"locale": "EN"}, errors.CheckViolation, "valid_locale_amenity"),
    ("amenity_translations", {"locale": "en"}, errors.UniqueViolation,
     "unique_amenity_translation"),
    ("amenity_translations", {"amenity_id": "none"}, errors.ForeignKeyViolation,
     "amenity_translations_amenity_id_fkey"),
    ("policies", {"category": "none"}, errors.CheckViolation, "valid_policy_category"),
    ("policies", {"data_type": "json"}, errors.CheckViolation, "valid_policy_data_type"),
    ("policies", {"data_type": "d" * 21}, errors.StringDataRightTruncation, None),
    ("policies", {"id": "pets_allowed"}, errors.UniqueViolation, "policies_pkey"),
    ("policy_translations", {"locale": "en_GB"}, errors.CheckViolation, "valid_locale_policy"),
    ("policy_translations", {"locale": "en"}, errors.UniqueViolation, "unique_policy_translation"),
    ("policy_translations", {"policy_id": "none"}, errors.ForeignKeyViolation,
     "policy_translations_policy_id_fkey"),
    ("properties", {"title": "t" * 256}, errors.StringDataRightTruncation, None),
    ("properties", {"transaction_type": "swap"}, errors.CheckViolation, None),
    ("properties", {"property_type": "castle"}, errors.CheckViolation, "valid_property_type"),
    ("properties", {"currency": "CHF"}, errors.CheckViolation, "valid_currency"),
    ("properties", {"currency": "BAHT"}, errors.StringDataRightTruncation, None),
    ("properties", {"rent_price": None}, errors.CheckViolation, "valid_price_for_transaction"),
    ("properties", {"transaction_type": "sale"}, errors.CheckViolation,
     "valid_price_for_transaction"),
    ("properties", {"transaction_type": "lease"}, errors.CheckViolation,
     "valid_price_for_transaction"),
    ("properties", {"rent_price": 0}, errors.CheckViolation, "positive_prices"),
    ("properties", {"sale_price": -1}, errors.CheckViolation, "positive_prices"),
    ("properties", {"lease_price": 0}, errors.CheckViolation, "positive_prices"),
    ("properties", {"rent_price": 2**63}, errors.NumericValueOutOfRange, None),
    ("properties", {"listing_priority": -1}, errors.CheckViolation, "valid_priority"),
    ("properties", {"listing_priority": 1000}, errors.CheckViolation, "valid_priority"),
    ("properties", {"created_by": 404}, errors.ForeignKeyViolation, "properties_created_by_fkey"),
    ("properties", {"updated_by": 404}, errors.ForeignKeyViolation, "properties_updated_by_fkey"),
    ("properties", {"description_embedding_en": "[1,2,3]"}, errors.DataException, None),
    ("property_translations", {"locale": "thai"}, errors.CheckViolation, "valid_locale"),
    ("property_translations", {"field": "colour"}, errors.CheckViolation, "valid_field"),
    ("property_translations", {"locale": "th"}, errors.UniqueViolation, "unique_translation"),
    ("property_translations", {"property_id": "00000000-0000-0000-0000-000000000000"},
     errors.ForeignKeyViolation, "property_translations_property_id_fkey"),
]  # fmt: skip


def fresh(connection, table: str) -> dict:
    """A row that keeps every rule, beside the one that is there."""
    row = dict(ROWS[table])
    if "id" in row:
        row["id"] = f"another_{row['id']}"
    if "locale" in row:
        row["locale"] = "de"
    if table == "property_translations":
        row["property_id"] = connection.property_id
    return row


def test_each_rule_rejects_the_row_that_breaks_it(connection):
    for table, change, error, constraint in BROKEN:
        with pytest.raises(error) as raised, connection.transaction():
            insert(connection, table, {**fresh(connection, table), **change})
        if constraint:
            assert raised.value.diag.constraint_name == constraint, change


KEPT = [
    *(("amenities", {"category": c}) for c in ("interior", "exterior", "building", "area")),
    *(("policies", {"category": c}) for c in ("lease_terms", "house_rules", "payment")),
    *(("policies", {"data_type": t}) for t in ("boolean", "integer", "text", "select")),
    *(("properties", {"property_type": t}) for t in (
        "villa", "condo", "apartment", "townhouse", "house", "commercial", "land", "office",
        "retail", "warehouse")),
    *(("properties", {"currency": c}) for c in ("THB", "USD", "EUR", "GBP", "JPY")),
    *(("properties", {"listing_priority": p}) for p in (0, 999)),
    ("properties", {"transaction_type": "sale", "rent_price": None, "sale_price": 2**63 - 1}),
    ("properties", {"transaction_type": "lease", "rent_price": None, "lease_price": 1}),
    ("properties", {"title": "ท" * 255}),
    ("properties", {"images": [Jsonb({"url": "https://example.com/1.jpg"}), Jsonb({"alt": "🏖"})]}),
    ("properties", {"tags": ["pool", "ติดทะเล", ""]}),
    ("properties", {"description_embedding_th": str([0.5] * 1536)}),
    *(("property_translations", {"field": f}) for f in (
        "title", "description", "location_province", "location_district",
        "location_subdistrict", "location_address")),
    *(("amenity_translations", {"locale": locale}) for locale in ("th", "en-GB")),
    ("amenities", {"id": "a" * 100, "icon": "i" * 100}),
]  # fmt: skip


def test_each_rule_accepts_the_row_that_keeps_it(connection):
    for table, change in KEPT:
        row = {**fresh(connection, table), **change}
        with connection.transaction(force_rollback=True):
            key = insert(connection, table, row)
            columns = sql.SQL(", ").join(map(sql.Identifier, change))
            query = sql.SQL("SELECT {} FROM {} WHERE id = %s").format(
                columns, sql.Identifier(table)
            )
            found = connection.execute(query, [key]).fetchone()
            for value, expected in zip(found, change.values()):
                if isinstance(expected, list) and isinstance(expected[0], Jsonb):
                    expected = [item.obj for item in expected]
                if isinstance(expected, str) and expected.startswith("["):
                    assert value.count(",") == 1535
                else:
                    assert value == expected


def test_what_must_not_be_null_is_refused(connection):
    nullable = {
        "amenities": {"icon"},
        "policy_translations": {"description"},
        "properties": {
            "rent_price", "sale_price", "lease_price", "cover_image", "deleted_at", "created_by",
            "updated_by", "description_embedding_en", "description_embedding_th",
        },
    }  # fmt: skip
    columns = connection.execute(
        "SELECT c.relname, a.attname FROM pg_attribute AS a JOIN pg_class AS c"
        " ON c.oid = a.attrelid WHERE c.relname = ANY(%s) AND c.relkind = 'r' AND attnum > 0",
        [list(TABLES)],
    ).fetchall()
    assert len(columns) == 61
    for table, column in columns:
        row = {**fresh(connection, table), column: None}
        if table == "properties" and column == "rent_price":
            row |= {"transaction_type": "sale", "sale_price": 1}
        if column in nullable.get(table, ()):
            with connection.transaction(force_rollback=True):
                insert(connection, table, row)
        else:
            with pytest.raises(errors.NotNullViolation), connection.transaction():
                insert(connection, table, row)


def test_defaults(connection):
    row = connection.execute(
        "SELECT currency, physical_specs, location_details, amenities, policies, contact_info,"
        " images, tags, is_published, is_featured, listing_priority, cover_image, deleted_at,"
        " created_at = updated_at, id IS NOT NULL FROM properties"
    ).fetchone()
    assert row == (
        "THB", {}, {}, {}, {}, {}, [], [], False, False, 0, None, None, True, True,
    )  # fmt: skip
    for table in ("amenities", "policies"):
        defaults = f"SELECT sort_order, is_active FROM {table}"
        assert connection.execute(defaults).fetchone() == (0, True)
    for table in (t for t in TABLES if t.endswith("translations")):
        assert connection.execute(f"SELECT id FROM {table}").fetchone() == (1,)


@pytest.mark.parametrize(
    ("parent", "child"),
    [
        ("amenities", "amenity_translations"),
        ("policies", "policy_translations"),
        ("properties", "property_translations"),
    ],
)
def test_translations_go_with_what_they_translate(connection, parent, child):
    connection.execute(f"DELETE FROM {parent}")
    assert connection.execute(f"SELECT count(*) FROM {child}").fetchone() == (0,)


def test_a_property_outlives_its_author(connection):
    connection.execute("INSERT INTO users (id, email) VALUES (1, 'a@example.com')")
    connection.execute("UPDATE properties SET created_by = 1, updated_by = 1")
    connection.execute("DELETE FROM users")
    authors = connection.execute("SELECT created_by, updated_by FROM properties").fetchall()
    assert authors == [(None, None)]


@pytest.mark.parametrize("table", TABLES)
def test_updated_at_moves(connection, table):
    old = "2000-01-01 00:00:00+00"
    with connection.transaction():
        connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        connection.execute(f"UPDATE {table} SET created_at = '{old}', updated_at = '{old}'")
        connection.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")
    connection.execute(f"UPDATE {table} SET updated_at = '{old}'")
    assert connection.execute(
        f"SELECT created_at = '{old}', updated_at > now() - interval '1 hour' FROM {table}"
    ).fetchone() == (True, True)


def test_soft_delete_hides_from_the_listing(connection):
    listing = "SELECT count(*) FROM properties WHERE is_published AND deleted_at IS NULL"
    connection.execute("UPDATE properties SET is_published = true")
    assert connection.execute(listing).fetchone() == (1,)
    connection.execute("UPDATE properties SET deleted_at = now()")
    assert connection.execute(listing).fetchone() == (0,)


def test_thai_text_comes_back_as_it_went_in(connection):
    value = connection.execute(
        "SELECT value FROM property_translations WHERE locale = 'th' AND field = 'title'"
    )
    assert value.fetchone() == ("วิลล่า",)
