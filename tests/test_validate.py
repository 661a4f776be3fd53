"""The checks after the migration: what they say, and that they leave no trace."""

from __future__ import annotations

import json
import re

import pytest

from validation import expectation

from .conftest import TABLES, Database

NEIGHBOURS = """
CREATE SCHEMA reporting;
CREATE TABLE reporting.properties (id integer PRIMARY KEY, title text);
CREATE TABLE orders (id serial PRIMARY KEY, user_id integer REFERENCES users, total bigint);
CREATE TABLE visits (property_id uuid REFERENCES properties ON DELETE CASCADE);
CREATE VIEW published AS SELECT * FROM properties WHERE is_published;
CREATE FUNCTION reporting.update_updated_at_column() RETURNS trigger LANGUAGE plpgsql
AS 'BEGIN RETURN NULL; END';
GRANT SELECT ON properties TO PUBLIC;
"""
FILL = """
INSERT INTO users (email) SELECT n || '@example.com' FROM generate_series(1, 100) AS n;
INSERT INTO amenities (id, category) VALUES ('wifi', 'interior');
INSERT INTO amenity_translations (amenity_id, locale, name) VALUES ('wifi', 'th', 'ไวไฟ');
INSERT INTO policies (id, category, data_type) VALUES ('pets_allowed', 'house_rules', 'boolean');
INSERT INTO policy_translations (policy_id, locale, name) VALUES ('pets_allowed', 'en', 'Pets');
INSERT INTO properties (title, description, transaction_type, property_type, rent_price, created_by)
SELECT 'Villa ' || n, 'x', 'rent', 'villa', n, n % 100 + 1 FROM generate_series(1, 10000) AS n;
INSERT INTO property_translations (property_id, locale, field, value)
SELECT id, 'th', 'title', 'วิลล่า' FROM properties;
"""


EXPECTED = expectation.query("""
    SELECT CASE kind WHEN 'index' THEN 'indexes' WHEN 'function' THEN kind ELSE kind || 's' END,
        count(*)
    FROM expected WHERE removed_by IS NULL GROUP BY kind
""")


def fingerprint(database: Database) -> list:
    """What the checks must leave as it was."""
    counts = [database.value(f"SELECT count(*) FROM {table}") for table in (*TABLES, "users")]
    relations = database.superuser(
        "SELECT relname, reltuples, relpages, relfilenode FROM pg_class"
        " WHERE relnamespace = 'public'::regnamespace ORDER BY 1"
    )
    sequences = database.superuser("SELECT * FROM pg_sequences ORDER BY 1, 2")
    return [counts, relations, sequences, database.dump("--inserts")]


def found(database: Database, **environment: str) -> dict[str, list[dict]]:
    done = database.validation("validate", "--format", "json", **environment)
    assert not done.stderr
    result = json.loads(done.stdout)
    assert done.returncode == (1 if result["fail"] else 0)
    checks: dict[str, list[dict]] = {}
    for row in result["results"]:
        checks.setdefault(row["check"], []).append(row)
    return checks


@pytest.mark.parametrize("rows", ["empty", "10,000 properties"])
def test_all_passes_among_neighbours_and_leaves_no_trace(migrated, rows):
    migrated.superuser("GRANT CREATE ON DATABASE " + migrated.name + " TO bestays")
    migrated.execute(NEIGHBOURS)
    if rows != "empty":
        migrated.execute(FILL)
        migrated.superuser("VACUUM ANALYZE")
    for table in (*TABLES, "users"):
        migrated.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
    before = fingerprint(migrated)
    checks = found(migrated)
    assert {r["status"] for rows in checks.values() for r in rows} == {"pass"}
    expected = dict(migrated.execute(EXPECTED))
    assert sum(expected.values()) > 100
    of_kind = {kind: len(checks[kind]) for kind in checks if kind in expected}
    assert of_kind == expected
    assert {*checks} - {*expected} == {"behaviour", "query plan", "query time"}
    for command in ("check", "state"):
        assert migrated.validation(command).returncode == 0
    assert fingerprint(migrated) == before


def test_the_settings_of_the_session_change_nothing(migrated):
    migrated.superuser("GRANT CREATE ON DATABASE " + migrated.name + " TO bestays")
    migrated.execute(NEIGHBOURS)
    settings = (
        "search_path=reporting,pg_catalog",
        "quote_all_identifiers=on",
        "timezone=Asia/Bangkok",
    )
    checks = found(migrated, PGOPTIONS=" ".join(f"-c {setting}" for setting in settings))
    objects = [
        r for kind in checks for r in checks[kind] if kind in dict(migrated.execute(EXPECTED))
    ]
    assert {r["status"] for r in objects} == {"pass"}


def test_users_with_columns_that_only_the_application_knows(migrated):
    migrated.superuser(
        "CREATE TYPE role AS ENUM ('guest', 'agent');"
        "ALTER TABLE users ADD COLUMN role role NOT NULL, ADD COLUMN born date NOT NULL,"
        " ADD COLUMN key uuid NOT NULL UNIQUE, ADD COLUMN active boolean NOT NULL,"
        " ADD COLUMN settings jsonb NOT NULL, ADD COLUMN tags text[] NOT NULL,"
        " ADD COLUMN initials char(3) NOT NULL, ADD COLUMN credit numeric(8, 2) NOT NULL,"
        " ADD COLUMN doubled numeric GENERATED ALWAYS AS (credit * 2) STORED NOT NULL,"
        " ADD CHECK (email LIKE '%@%')"
    )
    assert {r["status"] for r in found(migrated)["behaviour"]} == {"pass"}


def test_users_that_refuse_the_trial_are_a_warning(migrated):
    migrated.execute("ALTER TABLE users ADD CHECK (full_name IS NOT NULL)")
    (row,) = [r for r in found(migrated)["behaviour"] if r["status"] != "pass"]
    assert row["status"] == "warn"
    assert "the deletion of a user" in row["found"] and "full_name_check" in row["found"]


def test_a_role_that_may_only_read_is_told_what_was_not_tried(migrated):
    migrated.superuser(
        "CREATE ROLE reader LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader;"
        f"REVOKE TEMP ON DATABASE {migrated.name} FROM PUBLIC"
    )
    try:
        reader = Database(migrated.server, migrated.name, "reader")
        checks = found(reader)
        assert [r["status"] for r in checks["behaviour"]] == ["warn"]
        assert [r["status"] for r in checks["query plan"]] == ["warn"]
        assert "permission denied" in checks["behaviour"][0]["found"]
    finally:
        migrated.superuser("DROP OWNED BY reader; DROP ROLE reader")


def test_a_read_only_database_is_told_what_was_not_tried(migrated):
    checks = found(migrated, PGOPTIONS="-c default_transaction_read_only=on")
    assert [r["status"] for r in checks["behaviour"]] == ["warn"]
    assert [r["status"] for r in checks["query plan"]] == ["warn"]
    assert {r["status"] for r in checks["constraints"]} == {"pass"}


def test_the_index_that_the_query_needs_is_missed(migrated):
    migrated.execute("DROP INDEX idx_properties_transaction_price")
    (row,) = found(migrated)["query plan"]
    assert row["status"] == "fail"
    assert row["found"].startswith("the listing by price reads ")


def test_broken_behaviour_is_found_by_behaviour(migrated):
    migrated.execute(
        "ALTER TABLE property_translations DROP CONSTRAINT valid_locale;"
        "ALTER TABLE properties DISABLE TRIGGER update_properties_updated_at;"
        "ALTER TABLE properties DROP CONSTRAINT properties_updated_by_fkey"
    )
    failed = [r["found"] for r in found(migrated)["behaviour"] if r["status"] == "fail"]
    assert [f.split(":")[0] for f in failed] == [
        "properties", "property_translations",
        "the deletion of a user empties the author of a property",
        "updated_at moves on every table",
    ]  # fmt: skip


def test_an_unmigrated_database_fails_everywhere(unmigrated):
    checks = found(unmigrated)
    for name in ("tables", "columns", "constraints", "indexes", "triggers", "behaviour"):
        assert {r["status"] for r in checks[name]} == {"fail"}


def test_the_table_is_short_and_plain(migrated):
    done = migrated.validation("validate")
    lines = done.stdout.splitlines()
    assert len(lines) == 12
    assert re.fullmatch(r"All \d+ checks passed.", lines[-1])
    assert "\033" not in done.stdout
    assert max(map(len, lines)) <= 100
