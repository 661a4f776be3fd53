"""`python -m validation dry-run`: shows what yoyo's run would lock, and changes nothing."""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager

import pytest

from .conftest import MIGRATIONS, PROJECT, TABLES, ended, refused, well
from .conftest import newest as server  # noqa: F401

WAITS = "application_name = '0001_property_v2'"


def rehearse(database, *options, **environment):
    """Its steps, and what they lock but yoyo's table, which a rollback reads."""
    done = database.validation("dry-run", "--format", "json", *options, **environment)
    well(done)
    steps = json.loads(done.stdout)["steps"]
    return steps, [(step["number"], lock["mode"], lock["relation"]) for step in steps
                   for lock in step["locks"] if lock["relation"] != "_yoyo_migration"]  # fmt: skip


@pytest.fixture
def later(tmp_path, unmigrated):
    """What rehearses where yoyo.ini names a copy of the migrations, to which a second is added."""

    def rehearse_with(name: str, text: str):
        shutil.copytree(MIGRATIONS, tmp_path / "migrations")
        (tmp_path / "migrations" / name).write_text(text)
        (tmp_path / "yoyo.ini").write_text(f"[DEFAULT]\nsources = {tmp_path}/migrations\n")
        return unmigrated.validation("dry-run", cwd=tmp_path, PYTHONPATH=str(PROJECT))

    return rehearse_with


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


def test_a_failing_statement_is_named_and_nothing_after_it_is_run(unmigrated, later):
    unmigrated.execute("CREATE TABLE policies (id integer)")
    before = everything(unmigrated)
    done = later("0002_words.sql", "-- depends: 0001_property_v2\nSELECT 1;\n")
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    (number,) = (n for n, line in enumerate(lines) if "CREATE TABLE policies (" in line)
    assert 'relation "policies" already exists' in lines[number + 1]
    assert lines[number].split()[0] in lines[-3]
    assert "of 0001_property_v2.sql fails." in lines[-3]
    assert "0002_words" not in done.stdout
    assert everything(unmigrated) == before


def test_the_table_shows_the_lock_and_what_was_not_rehearsed(unmigrated, later):
    done = later(
        "0002_index.sql", "-- transactional: false\n-- depends: 0001_property_v2\n"
        "CREATE INDEX CONCURRENTLY made_by_0002 ON properties (title);\n",
    )  # fmt: skip
    well(done, "1 lock on what was there before", "Not rehearsed: the commit")
    first, second = done.stdout.split("0002_index.sql\n")
    assert first.startswith("0001_property_v2.sql\n")
    assert first.count("→ SHARE ROW EXCLUSIVE on users for ") == 1
    assert "not rehearsed: it runs outside a transaction" in second.splitlines()[1]
    assert not unmigrated.tables()


@contextmanager
def waiting_for_users(database):
    """A rehearsal that waits for its lock on users as long as the block lasts."""
    with database.holding(name="report"):
        rehearsal = database.start(*database.our_command("validation", "dry-run"))
        database.wait_for_session(WAITS, "the rehearsal waits for users", rehearsal)
        yield rehearsal


def test_a_wait_is_rehearsed_and_the_session_in_the_way_named(unmigrated):
    with waiting_for_users(unmigrated) as rehearsal:
        assert unmigrated.state()[0] == 1  # running now
        refused(unmigrated.validation("dry-run"), "0001_property_v2 is running now")
    well(ended(rehearsal))
    assert not unmigrated.tables()


def test_a_lost_connection_is_one_sentence(unmigrated):
    with waiting_for_users(unmigrated) as rehearsal:
        assert unmigrated.terminate(WAITS) == 1
        refused(ended(rehearsal), "The database refused: ", "Nothing was changed.")
