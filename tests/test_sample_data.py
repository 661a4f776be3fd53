"""The sample data: the same for the same seed, true to the shapes, never where it may not be."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys

import pytest

from .conftest import PROJECT, TABLES, Database, rows, wait_for


@pytest.fixture
def database(migrated) -> Database:
    migrated.superuser(f"ALTER DATABASE {migrated.name} SET property_v2.allow_data_loss = on")
    return migrated


def command(database: Database, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "operations", "sample-data", *arguments, "-d", database.url)


def load(database: Database, *arguments: str) -> subprocess.CompletedProcess:
    return database.run(*command(database, *arguments))


def test_same_seed_same_rows_and_another_seed_other_listings(database):
    first = load(database, "300")
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout.startswith("300 properties with "), first.stdout
    before = rows(database)
    database.execute("UPDATE properties SET title = 'x'; DELETE FROM amenities")
    assert load(database, "300", "--seed", "1").returncode == 0
    assert rows(database) == before
    assert load(database, "300", "--seed", "2").returncode == 0
    after = rows(database)
    same = {table for table in TABLES if after[table] == before[table]}
    assert same == set(TABLES) - {"properties", "property_translations"}


def test_has_the_shapes_that_the_application_writes(database):
    assert load(database, "2000", "--embeddings").returncode == 0
    wrong = database.execute(
        """
        SELECT 'amenity unknown' FROM properties AS p, jsonb_each(p.amenities) AS c (category, ids),
            jsonb_array_elements_text(c.ids) AS a (id)
        WHERE NOT EXISTS (
            SELECT FROM amenities WHERE amenities.id = a.id AND amenities.category = c.category
        )
        UNION
        SELECT 'policy unknown' FROM properties AS p,
            jsonb_each(p.policies) AS c (category, chosen),
            jsonb_object_keys(c.chosen) AS k (id)
        WHERE NOT EXISTS (
            SELECT FROM policies WHERE policies.id = k.id AND policies.category = c.category
        )
        UNION
        SELECT 'price of another type' FROM properties
        WHERE num_nonnulls(rent_price, sale_price, lease_price) <> 1
        UNION
        SELECT 'no province, bedrooms or cover' FROM properties
        WHERE location_details #> '{administrative,province_id}' IS NULL
            OR physical_specs #> '{rooms,bedrooms}' IS NULL OR NOT cover_image ? 'url'
        UNION
        SELECT 'deleted before it was made' FROM properties WHERE deleted_at < created_at
        UNION
        SELECT 'not Thai' FROM property_translations WHERE locale <> 'th' OR value !~ '[ก-๛]'
        UNION
        SELECT 'amenity or policy without both names' FROM (
            SELECT amenity_id, locale FROM amenity_translations
            UNION ALL SELECT policy_id, locale FROM policy_translations
        ) AS t (id, locale) GROUP BY id HAVING count(DISTINCT locale) <> 2
        """
    )
    assert not wrong
    counts = database.execute(
        "SELECT count(*), count(DISTINCT transaction_type), count(description_embedding_en),"
        " count(*) FILTER (WHERE NOT is_published), count(deleted_at), count(created_by),"
        " (SELECT count(*) FROM amenities), (SELECT count(*) FROM policies),"
        " (SELECT count(DISTINCT property_id) FROM property_translations) FROM properties"
    )[0]
    assert counts[:3] == (2000, 3, 200) and counts[6:8] == (34, 17), counts
    drafts, deleted, owned, translated = counts[3], counts[4], counts[5], counts[8]
    assert 300 < drafts < 500 and 60 < deleted < 200, counts
    assert 1600 < owned < 2000 and 1400 < translated < 2000, counts
    # Statistics are there, and the sequences go on after the last row
    assert database.value("SELECT reltuples FROM pg_class WHERE relname = 'properties'") == 2000
    database.execute(
        "INSERT INTO property_translations (property_id, locale, field, value)"
        " SELECT id, 'en', 'title', 'x' FROM properties LIMIT 1"
    )


def test_refuses_where_rows_may_not_be_lost_and_changes_nothing(migrated):
    migrated.execute("INSERT INTO amenities (id, category) VALUES ('wifi', 'interior')")
    before = migrated.dump()
    done = load(migrated, "10")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Sample data failed: "), done.stderr
    assert f"ALTER DATABASE {migrated.name} SET property_v2.allow_data_loss = on" in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert migrated.dump() == before


def test_names_what_is_missing(unmigrated):
    unmigrated.superuser(f"ALTER DATABASE {unmigrated.name} SET property_v2.allow_data_loss = on")
    done = load(unmigrated, "10")
    assert (done.returncode, done.stdout) == (2, "")
    assert "operations migrate -d " in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_a_terminal_shows_how_far_it_is_and_nothing_is_half_done_when_its_session_ends(database):
    assert load(database, "50").returncode == 0
    before = rows(database)
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        command(database, "60000"), cwd=PROJECT, env=database.env(),
        stdout=subprocess.PIPE, stderr=end,
    )  # fmt: skip
    os.close(end)
    shown = bytearray()

    def is_half_done() -> object:
        if select.select([terminal], [], [], 0.1)[0]:
            shown.extend(os.read(terminal, 1000))
        return re.search(rb"\[#+\.+\] [24]0,000 of 60,000 properties", shown)

    wait_for(is_half_done, "the terminal shows 20,000 of 60,000 properties", 300)
    assert database.superuser(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        f" WHERE datname = '{database.name}' AND query LIKE 'CALL pg_temp.add_properties(%'"
    )
    assert (process.wait(60), process.stdout.read()) == (2, b"")
    message = os.read(terminal, 10_000).decode().rpartition("\x1b[K")[2]
    os.close(terminal)
    assert message.startswith("Sample data failed: ") and message.count("\n") == 1, message
    assert rows(database) == before
