"""`python -m validation dry-run`: shows what yoyo's run would lock, and changes nothing."""

from __future__ import annotations

import json
import shutil

import pytest

from .conftest import MIGRATIONS, PROJECT, TABLES
from .conftest import newest as server  # noqa: F401

ALLOWED = "-c property_v2.allow_data_loss=on"


def rehearse(database, *options, **environment):
    done = database.validation("dry-run", "--format", "json", *options, **environment)
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout)


def locks(rehearsal):
    return [
        (step["number"], lock["mode"], lock["relation"])
        for step in rehearsal["steps"]
        for lock in step["locks"]
        if lock["relation"] != "_yoyo_migration"  # read, for later migrations
    ]


@pytest.fixture
def filled(unmigrated):
    """With the first migration, and rows."""
    assert unmigrated.yoyo("apply", "-r", "0001_property_v2").returncode == 0
    unmigrated.execute("INSERT INTO users (email) VALUES ('a@example.com')")
    unmigrated.execute("INSERT INTO amenities (id, category) VALUES ('wifi', 'interior')")
    return unmigrated


@pytest.fixture
def folder(tmp_path):
    """A copy of the first migration, where yoyo.ini of its parent names it."""
    (tmp_path / "migrations").mkdir()
    for path in MIGRATIONS.glob("0001_*"):
        shutil.copy(path, tmp_path / "migrations")
    (tmp_path / "yoyo.ini").write_text(f"[DEFAULT]\nsources = {tmp_path}/migrations\n")
    return tmp_path / "migrations"


def everything(database):
    """The schema and all rows, sequences, and what yoyo keeps in its own tables."""
    yoyo = database.value("SELECT to_regclass('_yoyo_log')")
    log = database.execute("SELECT migration_id, operation FROM _yoyo_log") if yoyo else None
    tables = "SELECT relname FROM pg_class WHERE relname LIKE '%yoyo%' ORDER BY 1"
    return database.dump(), database.execute(tables), log


def test_apply_takes_one_lock_in_the_last_statement(unmigrated):
    before = everything(unmigrated)
    rehearsal = rehearse(unmigrated)
    first = [s for s in rehearsal["steps"] if s["file"] == "0001_property_v2.sql"]
    assert locks({"steps": first}) == [(len(first), "SHARE ROW EXCLUSIVE", "users")]
    (lock,) = first[-1]["locks"]
    assert "writes" in lock["blocks"] and not lock["rewritten"]
    assert lock["held_ms"] > 0
    assert everything(unmigrated) == before


def test_rollback_takes_the_six_tables_and_users(filled):
    before = everything(filled)
    rehearsal = rehearse(filled, "--rollback", PGOPTIONS=ALLOWED)
    found = locks(rehearsal)
    assert {mode for _, mode, _ in found} == {"ACCESS EXCLUSIVE"}
    assert {name for _, _, name in found if "_seq" not in name} == {"users", *TABLES}
    assert [name for _, _, name in found].count("users") == 1
    assert everything(filled) == before


def test_a_migrated_database_has_nothing_to_apply(migrated):
    before = everything(migrated)
    done = migrated.validation("dry-run")
    assert (done.returncode, done.stdout) == (0, "Nothing to do here.\n")
    assert everything(migrated) == before


def test_an_unmigrated_database_has_nothing_to_roll_back(unmigrated):
    done = unmigrated.validation("dry-run", "--rollback")
    assert (done.returncode, done.stdout) == (0, "Nothing to do here.\n")


def test_a_rollback_that_keeps_rows_does_not_lock_users(filled):
    before = everything(filled)
    found = locks(rehearse(filled, "--rollback"))
    assert {mode for _, mode, _ in found} == {"ACCESS EXCLUSIVE"}
    assert {name for _, _, name in found if "_seq" not in name} == set(TABLES)
    assert everything(filled) == before


def test_a_failing_statement_is_named(unmigrated):
    unmigrated.execute("CREATE TABLE policies (id integer)")
    before = everything(unmigrated)
    done = unmigrated.validation("dry-run")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    (number,) = (n for n, line in enumerate(lines) if "CREATE TABLE policies (" in line)
    assert 'relation "policies" already exists' in lines[number + 1]
    assert lines[number].split()[0] in lines[-3]
    assert "of 0001_property_v2.sql fails." in lines[-3]
    assert everything(unmigrated) == before


def test_nothing_after_a_failure_is_run(unmigrated, folder):
    (folder / "0002_words.sql").write_text("-- depends: 0001_property_v2\nSELECT 1;\n")
    unmigrated.execute("CREATE TABLE policies (id integer)")
    done = unmigrated.run(
        "python", "-m", "validation", "dry-run", "-d", unmigrated.url,
        PYTHONPATH=str(PROJECT), cwd=folder.parent,
    )  # fmt: skip
    assert done.returncode == 1 and "of 0001_property_v2.sql fails." in done.stdout, done.stdout
    assert "0002_words" not in done.stdout


def test_a_wait_is_rehearsed_and_the_session_in_the_way_named(unmigrated):
    with unmigrated.connect(application_name="report") as blocker, blocker.transaction():
        blocker.execute("LOCK TABLE users IN ROW EXCLUSIVE MODE")
        rehearsal = unmigrated.start("python", "-m", "validation", "dry-run", "-d", unmigrated.url)
        waits = "SELECT count(*) FROM pg_stat_activity WHERE application_name = '0001_property_v2'"
        while unmigrated.value(waits) == 0:
            assert rehearsal.poll() is None
        assert unmigrated.validation("state").returncode == 1  # running now
        again = unmigrated.validation("dry-run")
        assert again.returncode == 2
        assert again.stderr.startswith("0001_property_v2 is running now")
    output, error = rehearsal.communicate()
    assert rehearsal.returncode == 0, output + error
    assert not unmigrated.tables()


def test_a_file_outside_a_transaction_is_not_run(unmigrated, folder):
    (folder / "0002_index.sql").write_text(
        "-- transactional: false\n-- depends: 0001_property_v2\n"
        "CREATE INDEX CONCURRENTLY made_by_0002 ON properties (title);\n"
    )
    done = unmigrated.run(
        "python", "-m", "validation", "dry-run", "-d", unmigrated.url, "--format", "json",
        PYTHONPATH=str(PROJECT), cwd=folder.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *rehearsed, left_out = json.loads(done.stdout)["steps"]
    assert {step["file"] for step in rehearsed} == {"0001_property_v2.sql"}
    assert left_out["file"] == "0002_index.sql"
    assert "not rehearsed: it runs outside a transaction" in left_out["statement"]
    assert not unmigrated.tables()


def test_the_table_shows_the_lock_and_what_was_not_rehearsed(unmigrated, folder):
    done = unmigrated.run(
        "python", "-m", "validation", "dry-run", "-d", unmigrated.url,
        PYTHONPATH=str(PROJECT), cwd=folder.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("→ SHARE ROW EXCLUSIVE on users for ") == 1
    assert "1 lock on what was there before" in done.stdout
    assert "Not rehearsed: the commit" in done.stdout


def test_a_lost_connection_is_one_sentence(unmigrated):
    with unmigrated.connect() as blocker, blocker.transaction():
        blocker.execute("LOCK TABLE users IN ROW EXCLUSIVE MODE")
        rehearsal = unmigrated.start("python", "-m", "validation", "dry-run", "-d", unmigrated.url)
        kill = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            f" WHERE application_name = '0001_property_v2' AND datname = '{unmigrated.name}'"
        )
        while not unmigrated.superuser(kill):
            assert rehearsal.poll() is None
        _, error = rehearsal.communicate()
    assert rehearsal.returncode == 2
    assert error.startswith("The database refused: ")
    assert "Nothing was changed." in error
    assert len(error.splitlines()) == 1
