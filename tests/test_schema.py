"""Every rule of the specification, tried with a row that breaks it and one that keeps it.

Written from the specification by hand, for 0001 as it is before any later migration. What follows a
change (cascades, updated_at, soft delete) is tried by validation/validate/85_behaviour.sql.
"""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors
from psycopg.types.json import Jsonb

from .conftest import clone, well

PROPERTY, UNKNOWN = ("11111111-1111-1111-1111-11111111111" + digit for digit in "12")
ROWS = {
    "amenities": {"id": "wifi", "category": "interior"},
    "amenity_translations": {"amenity_id": "wifi", "locale": "en", "name": "Wi-Fi"},
    "policies": {"id": "pets_allowed", "category": "house_rules", "data_type": "boolean"},
    "policy_translations": {"policy_id": "pets_allowed", "locale": "en", "name": "Pets"},
    "properties": {
        "id": PROPERTY, "title": "Villa", "description": "A villa", "transaction_type": "rent",
        "property_type": "villa", "rent_price": 3_500_000,
    },
    "property_translations": {
        "property_id": PROPERTY, "locale": "th", "field": "title", "value": "วิลล่า",
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def session(servers) -> Iterator[psycopg.Connection]:
    """A connection to the first migration alone, with one row in every table."""
    with clone(servers[0], "unmigrated") as database, database.connect() as session:
        well(database.yoyo("apply", "-r", "0001_property_v2"))
        for table, row in ROWS.items():
            insert(session, table, row)
        yield session


@pytest.fixture
def connection(session) -> Iterator[psycopg.Connection]:
    """That connection, in a transaction that is undone."""
    with session.transaction(force_rollback=True):
        yield session


def insert(connection: psycopg.Connection, table: str, row: dict, wanted: str = "id") -> tuple:
    """Inserts the row, or nothing when it is refused, and returns what is wanted of it."""
    into = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join(['%s'] * len(row))})"
    with connection.transaction():
        return connection.execute(f"{into} RETURNING {wanted}", list(row.values())).fetchone()


def another(table: str, **change: object) -> dict:
    """A row that keeps every rule beside the one that is there, with a change."""
    row = dict(ROWS[table])
    if table == "properties":
        del row["id"]
    for column in {"id", "locale"} & row.keys():
        row[column] = "de"
    return {**row, **change}


def test_objects_are_counted_as_specified(connection):
    """The counts of the specification's own migration."""
    six = "(SELECT oid FROM pg_class WHERE relkind = 'r' AND relname = ANY(%(tables)s))"
    for count, query in (
        (6, f"SELECT count(*) FROM {six} AS t"),
        (61, f"SELECT count(*) FROM pg_attribute WHERE attrelid IN {six} AND attnum > 0"),
        (27, f"SELECT count(*) FROM pg_constraint WHERE contype <> 'n' AND conrelid IN {six}"),
        (23, f"SELECT count(*) FROM pg_index WHERE indrelid IN {six}"),
        (11, "SELECT count(*) FROM pg_index WHERE indrelid = 'properties'::regclass"),
        (6, f"SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal AND tgrelid IN {six}"),
        (3, "SELECT count(*) FROM pg_sequences WHERE sequencename LIKE '%%translations_id_seq'"),
        (1, "SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
            " AND proname = 'update_updated_at_column'"),
        (6, f"SELECT count(*) FROM pg_class WHERE oid IN {six} AND relowner = 'bestays'::regrole"),
        (0, "SELECT count(*) FROM pg_roles WHERE rolname = 'bestays' AND rolsuper"),
    ):  # fmt: skip
        assert connection.execute(query, {"tables": list(ROWS)}).fetchone() == (count,), query


LONGEST = {
    "amenities": {"id": 100, "category": 50, "icon": 100},
    "amenity_translations": {"locale": 5, "name": 255},
    "policies": {"id": 100, "category": 50, "data_type": 20},
    "policy_translations": {"locale": 5, "name": 255},
    "properties": {"title": 255, "transaction_type": 20, "property_type": 50, "currency": 3},
    "property_translations": {"locale": 5, "field": 100},
}
# What is refused, and by which constraint or with which error
REFUSED = {
    "amenities": [("category", "roof", "valid_amenity_category"), ("id", "wifi", "amenities_pkey")],
    "amenity_translations": [
        ("locale", "EN", "valid_locale_amenity"), ("locale", "en", "unique_amenity_translation"),
        ("amenity_id", "none", "amenity_translations_amenity_id_fkey"),
    ],
    "policies": [
        ("category", "none", "valid_policy_category"), ("id", "pets_allowed", "policies_pkey"),
        ("data_type", "json", "valid_policy_data_type"),
    ],
    "policy_translations": [
        ("locale", "en_GB", "valid_locale_policy"), ("locale", "en", "unique_policy_translation"),
        ("policy_id", "none", "policy_translations_policy_id_fkey"),
    ],
    "properties": [
        ("id", PROPERTY, "properties_pkey"), ("property_type", "castle", "valid_property_type"),
        ("currency", "CHF", "valid_currency"), ("rent_price", None, "valid_price_for_transaction"),
        ("transaction_type", "sale", "valid_price_for_transaction"),
        ("transaction_type", "lease", "valid_price_for_transaction"),
        ("transaction_type", "swap", errors.CheckViolation),  # by two of them
        ("rent_price", 0, "positive_prices"), ("sale_price", -1, "positive_prices"),
        ("lease_price", 0, "positive_prices"), ("rent_price", 2**63, errors.NumericValueOutOfRange),
        ("listing_priority", -1, "valid_priority"), ("listing_priority", 1000, "valid_priority"),
        ("created_by", 404, "properties_created_by_fkey"),
        ("updated_by", 404, "properties_updated_by_fkey"),
        ("description_embedding_en", "[1,2,3]", errors.DataException),
    ],
    "property_translations": [
        ("locale", "thai", "valid_locale"), ("field", "colour", "valid_field"),
        ("locale", "th", "unique_translation"),
        ("property_id", UNKNOWN, "property_translations_property_id_fkey"),
    ],
}  # fmt: skip


def test_each_rule_rejects_the_row_that_breaks_it(connection):
    for table, columns in LONGEST.items():
        for column, length in columns.items():
            row = another(table, **{column: "x" * (length + 1)})
            with pytest.raises(errors.StringDataRightTruncation, match=rf"\({length}\)"):
                insert(connection, table, row)
    for table in REFUSED:
        for column, value, reason in REFUSED[table]:
            error = errors.IntegrityError if isinstance(reason, str) else reason
            with pytest.raises(error) as raised:
                insert(connection, table, another(table, **{column: value}))
            by = raised.value.diag.constraint_name
            assert by == reason or error is reason, (table, column, value)


ALLOWED = {
    "amenities": {
        "category": ("interior", "exterior", "building", "area"), "id": ("a" * 100,),
        "icon": ("i" * 100,),
    },
    "amenity_translations": {"locale": ("th", "en-GB")},
    "policies": {
        "category": ("lease_terms", "house_rules", "payment"),
        "data_type": ("boolean", "integer", "text", "select"),
    },
    "properties": {
        "title": ("ท" * 255,), "currency": ("THB", "USD", "EUR", "GBP", "JPY"),
        "property_type": ("villa", "condo", "apartment", "townhouse", "house", "commercial", "land",
                          "office", "retail", "warehouse"),
        "listing_priority": (0, 999), "tags": (["pool", "ติดทะเล", ""],),
    },
    "property_translations": {
        "value": ("บ้านพัก 🏖",),
        "field": ("title", "description", "location_province", "location_district",
                  "location_subdistrict", "location_address"),
    },
}  # fmt: skip


def test_each_rule_accepts_the_row_that_keeps_it(connection):
    def accepted(table: str, **change: object) -> tuple:
        with connection.transaction(force_rollback=True):
            return insert(connection, table, another(table, **change), ", ".join(change))

    for table, columns in ALLOWED.items():
        for column, values in columns.items():
            for value in values:
                assert accepted(table, **{column: value}) == (value,)
    for transaction_type, price in (("sale", 2**63 - 1), ("lease", 1)):
        change = {"transaction_type": transaction_type, f"{transaction_type}_price": price}
        assert accepted("properties", rent_price=None, **change) == (None, *change.values())
    images = [{"url": "https://example.com/1.jpg"}, {"alt": "🏖"}]
    assert accepted("properties", images=[Jsonb(image) for image in images]) == (images,)
    (embedding,) = accepted("properties", description_embedding_th=str([0.5] * 1536))
    assert embedding.count("0.5") == 1536


NULLABLE = {
    ("amenities", "icon"), ("policy_translations", "description"),
    *(("properties", column) for column in (
        "rent_price", "sale_price", "lease_price", "cover_image", "deleted_at", "created_by",
        "updated_by", "description_embedding_en", "description_embedding_th",
    )),
}  # fmt: skip


def test_what_must_not_be_null_is_refused(connection):
    columns = connection.execute(
        "SELECT attrelid::regclass::text, attname FROM pg_attribute"
        " WHERE attrelid = ANY(%s::regclass[]) AND attnum > 0", [list(ROWS)],
    ).fetchall()  # fmt: skip
    assert len(columns) == 61
    sale = {"transaction_type": "sale", "sale_price": 1}
    for table, column in columns:
        row = another(table, **(sale if column == "rent_price" else {}), **{column: None})
        if (table, column) in NULLABLE:
            with connection.transaction(force_rollback=True):
                insert(connection, table, row)
        else:
            with pytest.raises(errors.NotNullViolation):
                insert(connection, table, row)


def test_defaults(connection):
    wanted = (
        "currency, physical_specs, location_details, amenities, policies, contact_info, images,"
        " tags, is_published, is_featured, listing_priority, cover_image, deleted_at,"
        " created_at = updated_at"
    )
    row = insert(connection, "properties", another("properties"), wanted)
    assert row == ("THB", {}, {}, {}, {}, {}, [], [], False, False, 0, None, None, True)
    for table in ROWS:
        if table.endswith("translations"):
            assert connection.execute(f"SELECT id FROM {table}").fetchone() == (1,)
        elif table != "properties":
            defaults = f"SELECT sort_order, is_active FROM {table}"
            assert connection.execute(defaults).fetchone() == (0, True)
