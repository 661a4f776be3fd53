"""The sample data: the same for the same seed, true to the shapes, never where it may not be."""

import os
import pty
import re
import select
import subprocess

import pytest

from .conftest import ALLOWED, DEADLINE, Database, Process, clone, refused, rows, wait_for, well
from .conftest import newest as server  # noqa: F401

ALLOW = "ALTER DATABASE {} SET property_v2.allow_data_loss = on"


@pytest.fixture
def database(migrated) -> Database:
    migrated.superuser(ALLOW.format(migrated.name))
    return migrated


def test_same_seed_same_rows_and_another_seed_other_listings(database):
    first = database.operations("sample-data", "300")
    well(first)
    assert first.stdout.startswith("300 properties with ") and not first.stderr
    before = rows(database)
    database.execute("UPDATE properties SET title = 'x'; DELETE FROM amenities")
    well(database.operations("sample-data", "300", "--seed", "1"))
    assert rows(database) == before
    well(database.operations("sample-data", "300", "--seed", "2"))
    changed = {table for table, found in rows(database).items() if found != before[table]}
    assert changed == {"properties", "property_translations"}


WRONG = """
SELECT 'unknown amenity', p.id::text FROM properties AS p, jsonb_each(p.amenities) AS c,
    jsonb_array_elements_text(c.value) AS chosen
WHERE (c.key, chosen) NOT IN (SELECT category, id FROM amenities)
UNION
SELECT 'unknown policy', p.id::text FROM properties AS p, jsonb_each(p.policies) AS c,
    jsonb_object_keys(c.value) AS chosen
WHERE (c.key, chosen) NOT IN (SELECT category, id FROM policies)
UNION
SELECT 'price, province, bedrooms, cover or time', id::text FROM properties
WHERE num_nonnulls(rent_price, sale_price, lease_price) <> 1
    OR location_details #> '{administrative,province_id}' IS NULL
    OR physical_specs #> '{rooms,bedrooms}' IS NULL
    OR NOT cover_image ? 'url' OR deleted_at < created_at
UNION
SELECT 'not Thai', value FROM property_translations WHERE locale <> 'th' OR value !~ '[ก-๛]'
"""
WRONG += "".join(
    f"UNION SELECT 'not both names', {word}_id FROM {word}_translations"
    f" GROUP BY {word}_id HAVING count(DISTINCT locale) <> 2\n"
    for word in ("amenity", "policy")
)


def test_has_the_shapes_that_the_application_writes_on_16_too(servers):
    with clone(servers[1], "migrated") as database:
        well(database.operations("sample-data", "2000", "--embeddings", **ALLOWED))
        assert not database.execute(WRONG)
        counts = database.execute(
            "SELECT count(*), count(DISTINCT transaction_type), count(description_embedding_en),"
            " (SELECT count(*) FROM amenities), (SELECT count(*) FROM policies),"
            " count(*) FILTER (WHERE NOT is_published), count(deleted_at), count(created_by),"
            " (SELECT count(DISTINCT property_id) FROM property_translations) FROM properties"
        )[0]
        assert counts[:5] == (2000, 3, 200, 34, 17), counts
        drafts, deleted, owned, translated = counts[5:]
        assert 300 < drafts < 500 and 60 < deleted < 200, counts
        assert 1600 < owned < 2000 and 1400 < translated < 2000, counts
        # Statistics are there, and the sequences go on after the last row
        known = "SELECT reltuples FROM pg_class WHERE relname = 'properties'"
        assert database.value(known) == 2000
        database.execute(
            "INSERT INTO property_translations (property_id, locale, field, value)"
            " SELECT id, 'en', 'title', 'x' FROM properties LIMIT 1"
        )


def test_refuses_where_rows_may_not_be_lost_and_where_there_are_no_tables(migrated):
    migrated.execute("INSERT INTO amenities (id, category) VALUES ('wifi', 'interior')")
    before, way_out = migrated.dump(), ALLOW.format(migrated.name)
    refused(migrated.operations("sample-data", "10"), "Sample data failed: ", way_out)
    assert migrated.dump() == before
    migrated.superuser(way_out)
    migrated.roll_back()
    migrate = f"python -m operations migrate -d '{migrated.url}'"
    refused(migrated.operations("sample-data", "10"), "the six tables are not there", migrate)


def test_a_table_of_others_that_refers_to_them_is_named_and_nothing_advises_cascade(database):
    database.execute("CREATE TABLE viewings (property_id uuid REFERENCES properties)")
    done = database.operations("sample-data", "10")
    refused(done, 'Table "viewings" references "properties"')
    assert "CASCADE" not in done.stderr


def test_a_terminal_shows_how_far_it_is_and_nothing_is_half_done_when_its_session_ends(database):
    well(database.operations("sample-data", "50"))
    before = rows(database)
    terminal, end = pty.openpty()
    command, env = database.our_command("operations", "sample-data", "60000"), database.env()
    process = Process(command, cwd=database.cwd, env=env, stdout=subprocess.PIPE, stderr=end)
    os.close(end)
    shown = bytearray()

    def is_half_done() -> object:
        if select.select([terminal], [], [], 0.1)[0]:
            shown.extend(os.read(terminal, 1000))
        return re.search(rb"\[#+\.+\] [24]0,000 of 60,000 properties", shown)

    wait_for(is_half_done, "the terminal shows 20,000 of 60,000 properties", process=process)
    assert database.terminate("query LIKE 'CALL pg_temp.add_properties(%'") == 1
    assert (process.wait(DEADLINE), process.stdout.read()) == (2, b"")
    message = os.read(terminal, 10_000).decode().rpartition("\x1b[K")[2]
    os.close(terminal)
    assert message.startswith("Sample data failed: ") and message.count("\n") == 1, message
    assert rows(database) == before
