"""`python -m validation dry-run`: shows what yoyo's run would lock, and changes nothing."""

from __future__ import annotations

import json
import shutil

import pytest

from .conftest import MIGRATIONS, PROJECT, TABLES, ended, refused, well
from .conftest import newest as server  # noqa: F401

WAITS = "application_name = '0001_property_v2'"


def rehearse(database, *options, **more):
    """The first migration's steps, and what they lock but yoyo's table, which later ones read."""
    done = database.validation("dry-run", "--format", "json", *options, **more)
    assert done.returncode in (0, 1), done.stderr
    steps = json.loads(done.stdout)["steps"]
    locks = [(step["number"], lock["mode"], lock["relation"]) for step in steps
             for lock in step["locks"] if step["file"].startswith("0001_")
             and lock["relation"] != "_yoyo_migration"]  # fmt: skip
    return [step for step in steps if step["file"].startswith("0001_")], locks


@pytest.fixture
def here(tmp_path):
    """What runs a command where yoyo.ini names a copy of the first migration, to which is added."""
    (tmp_path / "migrations").mkdir()
    for path in MIGRATIONS.glob("0001_*"):
        shutil.copy(path, tmp_path / "migrations")
    (tmp_path / "yoyo.ini").write_text(f"[DEFAULT]\nsources = {tmp_path}/migrations\n")
    return {"cwd": tmp_path, "PYTHONPATH": str(PROJECT)}


def everything(database):
    """The schema and all rows, sequences, and what yoyo keeps in its own tables."""
    yoyo = database.value("SELECT to_regclass('_yoyo_log')")
    log = database.execute("SELECT migration_id, operation FROM _yoyo_log") if yoyo else None
    tables = "SELECT relname FROM pg_class WHERE relname LIKE '%yoyo%' ORDER BY 1"
    return database.dump(), database.execute(tables), log


def test_apply_takes_one_lock_in_the_last_statement(unmigrated):
    before = everything(unmigrated)
    steps, locks = rehearse(unmigrated)
    assert locks == [(len(steps), "SHARE ROW EXCLUSIVE", "users")]
    (lock,) = steps[-1]["locks"]
    assert "writes" in lock["blocks"] and not lock["rewritten"]
    assert lock["held_ms"] > 0
    assert everything(unmigrated) == before


@pytest.mark.parametrize(("rows", "others"), [(0, ["users"]), (1, [])])
def test_a_rollback_takes_the_tables_and_users_where_it_drops_them(unmigrated, rows, others):
    """With rows it keeps them, as make rollback does, also where a bare yoyo may lose them."""
    well(unmigrated.yoyo("apply", "-r", "0001_property_v2"))
    unmigrated.execute(
        "INSERT INTO amenities (id, category) SELECT n, 'area' FROM generate_series(1, %s) AS n",
        [rows],
    )
    before = everything(unmigrated)
    options = "-c property_v2.allow_data_loss=on"
    locks = rehearse(unmigrated, "--rollback", PGOPTIONS=options)[1]
    assert {mode for _, mode, _ in locks} == {"ACCESS EXCLUSIVE"}
    names = [name for _, _, name in locks if "_seq" not in name]
    assert sorted(names) == sorted([*TABLES, *others])
    assert everything(unmigrated) == before


def test_there_may_be_nothing_to_do(migrated, unmigrated):
    for database, option in ((migrated, ()), (unmigrated, ("--rollback",))):
        before = everything(database)
        done = database.validation("dry-run", *option)
        assert (done.returncode, done.stdout) == (0, "Nothing to do here.\n")
        assert everything(database) == before


def test_a_failing_statement_is_named_and_nothing_after_it_is_run(unmigrated, here):
    words = here["cwd"] / "migrations" / "0002_words.sql"
    words.write_text("-- depends: 0001_property_v2\nSELECT 1;\n")
    unmigrated.execute("CREATE TABLE policies (id integer)")
    before = everything(unmigrated)
    done = unmigrated.validation("dry-run", **here)
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    (number,) = (n for n, line in enumerate(lines) if "CREATE TABLE policies (" in line)
    assert 'relation "policies" already exists' in lines[number + 1]
    assert lines[number].split()[0] in lines[-3]
    assert "of 0001_property_v2.sql fails." in lines[-3]
    assert "0002_words" not in done.stdout
    assert everything(unmigrated) == before


def test_a_file_outside_a_transaction_is_not_run(unmigrated, here):
    (here["cwd"] / "migrations" / "0002_index.sql").write_text(
        "-- transactional: false\n-- depends: 0001_property_v2\n"
        "CREATE INDEX CONCURRENTLY made_by_0002 ON properties (title);\n"
    )
    done = unmigrated.validation("dry-run", "--format", "json", **here)
    well(done)
    *rehearsed, left_out = json.loads(done.stdout)["steps"]
    assert {step["file"] for step in rehearsed} == {"0001_property_v2.sql"}
    assert left_out["file"] == "0002_index.sql"
    assert "not rehearsed: it runs outside a transaction" in left_out["statement"]
    assert not unmigrated.tables()


def test_the_table_shows_the_lock_and_what_was_not_rehearsed(unmigrated, here):
    done = unmigrated.validation("dry-run", **here)
    well(done, "1 lock on what was there before", "Not rehearsed: the commit")
    assert done.stdout.count("→ SHARE ROW EXCLUSIVE on users for ") == 1


def test_a_wait_is_rehearsed_and_the_session_in_the_way_named(unmigrated):
    with unmigrated.holding(name="report"):
        rehearsal = unmigrated.start(*unmigrated.our_command("validation", "dry-run"))
        unmigrated.wait_for_session(WAITS, "the rehearsal waits for users", rehearsal)
        assert unmigrated.state()[0] == 1  # running now
        refused(unmigrated.validation("dry-run"), "0001_property_v2 is running now")
    well(ended(rehearsal))
    assert not unmigrated.tables()


def test_a_lost_connection_is_one_sentence(unmigrated):
    with unmigrated.holding():
        rehearsal = unmigrated.start(*unmigrated.our_command("validation", "dry-run"))
        unmigrated.wait_for_session(WAITS, "the rehearsal waits for users", rehearsal)
        assert unmigrated.terminate(WAITS) == 1
        refused(ended(rehearsal), "The database refused: ", "Nothing was changed.")
