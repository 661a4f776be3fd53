"""`python -m validation dry-run`: shows what yoyo's run would lock, and changes nothing."""

import json
import shutil

from .conftest import ALLOWED, MIGRATIONS, PROJECT, TABLES, ended, refused, well
from .conftest import newest as server  # noqa: F401
from .test_state import waiting_for_users


def rehearse(database, *options, **environment):
    """Its steps, and what they lock but yoyo's table, which a rollback reads."""
    done = database.validation("dry-run", "--format", "json", *options, **environment)
    well(done)
    steps = json.loads(done.stdout)["steps"]
    return steps, [(step["number"], lock["mode"], lock["relation"]) for step in steps
                   for lock in step["locks"] if lock["relation"] != "_yoyo_migration"]  # fmt: skip


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


def test_a_rollback_takes_the_tables_and_users_where_it_drops_them(migrated):
    """With rows it keeps them, as make rollback does, also where a bare yoyo may lose them."""
    a_row = "INSERT INTO amenities (id, category) VALUES ('wifi', 'interior')"
    for others, change in ((["users"], "SELECT"), ([], a_row)):
        migrated.execute(change)
        before = everything(migrated)
        locks = rehearse(migrated, "--rollback", **ALLOWED)[1]
        assert {mode for _, mode, _ in locks} == {"ACCESS EXCLUSIVE"}
        names = [name for _, _, name in locks if "_seq" not in name]
        assert sorted(names) == sorted([*TABLES, *others])
        assert everything(migrated) == before


def test_there_may_be_nothing_to_do(migrated, unmigrated):
    for database, option in ((migrated, ()), (unmigrated, ("--rollback",))):
        before = everything(database)
        done = database.validation("dry-run", *option)
        assert (done.returncode, done.stdout) == (0, "Nothing to do here.\n")
        assert everything(database) == before


def test_a_failing_statement_is_named_and_nothing_after_it_is_run(unmigrated, tmp_path):
    shutil.copytree(MIGRATIONS, tmp_path / "migrations")
    later = "-- depends: 0001_property_v2\nSELECT 1;\n"
    (tmp_path / "migrations" / "0002_words.sql").write_text(later)
    (tmp_path / "yoyo.ini").write_text(f"[DEFAULT]\nsources = {tmp_path}/migrations\n")
    unmigrated.execute("CREATE TABLE policies (id integer)")
    before = everything(unmigrated)
    done = unmigrated.validation("dry-run", cwd=tmp_path, PYTHONPATH=str(PROJECT))
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    (number,) = (n for n, line in enumerate(lines) if "CREATE TABLE policies (" in line)
    assert 'relation "policies" already exists' in lines[number + 1]
    assert lines[number].split()[0] in lines[-3]
    assert "of 0001_property_v2.sql fails." in lines[-3]
    assert "0002_words" not in done.stdout
    assert everything(unmigrated) == before


def test_a_wait_is_rehearsed(unmigrated):
    with waiting_for_users(unmigrated, *unmigrated.our_command("validation", "dry-run")) as waiting:
        assert unmigrated.state()[0] == 1  # running now
        refused(unmigrated.validation("dry-run"), "0001_property_v2: running now")
    well(ended(waiting))
    assert not unmigrated.tables()


def test_a_lost_connection_is_one_sentence(unmigrated):
    with waiting_for_users(unmigrated, *unmigrated.our_command("validation", "dry-run")) as waiting:
        assert unmigrated.terminate("application_name = '0001_property_v2'") == 1
        refused(ended(waiting), "The database refused: ", "Nothing was changed.")
