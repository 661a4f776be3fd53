"""Every state is produced for real, named rightly, and its way out leads to exit 0."""

import json
import random
import re
import shlex
import shutil
import signal
import time
from contextlib import contextmanager

from development.renew import checksums

from .conftest import Database, behind, clone, copy_of_the_project, ended, refused, wait_for, well
from .conftest import newest as server  # noqa: F401
from .test_indexes import INSERT

MIGRATION = "0001_property_v2"


def state(database: Database) -> dict[str, dict]:
    """The verdicts by subject; checks that the exit code is 0 exactly if nothing is to do."""
    code, results = database.state()
    assert code == (0 if all(r["status"] == "pass" for r in results.values()) else 1)
    return results


def found(database: Database) -> str:
    return state(database)[MIGRATION]["found"]


def settled(database: Database) -> dict[str, dict]:
    """The verdicts as soon as no backend of a killed run is at work any more."""

    def none_at_work() -> dict:
        verdicts = state(database)
        at_work = [r for r in verdicts.values() if re.search("running now|held by", r["found"])]
        return {} if at_work else verdicts

    return wait_for(none_at_work, "nobody is at work")


def follow_the_way_out(database: Database) -> None:
    """Runs what state advises, as a shell takes it, until nothing is left to do."""
    for _ in range(5):
        verdicts = settled(database)
        advice = [r["what_to_do"] for r in verdicts.values() if r["status"] != "pass"]
        if not advice:
            return
        # The lock first: it stops every other command.
        lines = next((a for a in advice if "yoyo break-lock" in a), advice[0]).splitlines()
        commands = [shlex.split(line) for line in lines if " -d " in line]
        command = next(c for c in commands if "validation" not in c)  # one that does something
        if "migrate" in command:
            command = ["yoyo", "apply", *command[4:]]  # all that matters here, and sooner
        well(database.run(*command, *["--batch"] * (command[0] == "yoyo")))
    raise AssertionError(f"no way out: {verdicts}")


@contextmanager
def waiting_for_users(database: Database, *command: str):
    """A run of the migration or its rollback that waits for its lock as long as the block lasts."""
    with database.holding():
        run = database.start(*command)
        at_work = f"application_name LIKE '{MIGRATION}%'"
        database.wait_for_session(at_work, f"{command} is at work", run)
        yield run


def test_running_now(migrated):
    with waiting_for_users(migrated, *migrated.yoyo_command("rollback")) as run:
        verdicts = state(migrated)
        assert re.search(r"running now: pid \d+ of bestays", verdicts[MIGRATION]["found"])
        assert f"held by process {run.pid} " in verdicts["yoyo lock"]["found"]
        done = migrated.validation("check")
        assert done.returncode == 1 and "running now" in done.stdout
        done = migrated.operations("rollback")
        assert done.returncode == 2 and f"{MIGRATION}: running now" in done.stderr
    well(ended(run))


def test_the_lock_is_held_by_who_is_at_work_and_by_nobody_who_idles(migrated):
    """yoyo at its tables; not a session whose last statement was about them, however long ago."""
    migrated.execute("INSERT INTO yoyo_lock (ctime, pid) VALUES (now(), 4711)")
    with migrated.connect(application_name="application") as idle:
        idle.execute('SELECT * FROM "_yoyo_migration", "yoyo_lock"')
        lock = state(migrated)["yoyo lock"]
        assert lock["found"].startswith("left behind by process 4711 ")
        with migrated.holding("LOCK TABLE _yoyo_migration IN SHARE MODE", "postgres") as pid:
            mark = """INSERT INTO "_yoyo_migration" VALUES ('x', 'x', localtimestamp)"""
            marking = migrated.start(*migrated.psql_command("-c", mark))
            at_work = migrated.wait_for_session(behind(pid), "it marks a migration", marking)
            lock = state(migrated)["yoyo lock"]
            assert lock["found"].startswith("held by process 4711 ")
            assert f": pid {at_work} of bestays" in lock["found"]
        well(ended(marking))


def test_committed_but_not_marked(unmigrated):
    bookkeeping = "query LIKE '%yoyo%' AND state = 'idle'"
    with waiting_for_users(unmigrated, *unmigrated.yoyo_command("apply")) as run:
        assert unmigrated.terminate(bookkeeping) == 1  # it marks the migration after its commit
    assert ended(run).returncode != 0
    verdict = settled(unmigrated)[MIGRATION]
    assert "committed but not marked" in verdict["found"]
    _, prove, _, mark = verdict["what_to_do"].splitlines()
    assert prove.startswith("python -m validation validate -d ")
    assert mark.startswith(f"yoyo mark -m {MIGRATION} -d ")
    done = unmigrated.validation("check")
    assert done.returncode == 1 and "committed but not marked" in done.stdout
    well(unmigrated.run(*shlex.split(prove)))
    follow_the_way_out(unmigrated)
    assert found(unmigrated) == "applied"


def test_marked_but_objects_missing_is_mended_or_rolled_back(migrated):
    migrated.execute("DROP INDEX idx_properties_tags")
    assert found(migrated) == "marked but objects missing: index idx_properties_tags"
    results = migrated.look("validate")[1]
    (finding,) = [r for r in results if r["status"] == "fail" and r["check"] == "indexes"]
    migrated.execute(finding["what_to_do"])
    assert found(migrated) == "applied"
    migrated.execute("DROP TABLE property_translations")
    assert "marked but objects missing: " in found(migrated)
    migrated.roll_back()
    assert found(migrated) == "not applied"
    assert not migrated.tables()


def test_partly_there(unmigrated):
    unmigrated.superuser("CREATE TABLE policies (id integer); CREATE VIEW amenities AS SELECT 1")
    assert "partly there: 2 of its 32 objects" in found(unmigrated)
    assert "view amenities of postgres, table policies of postgres" in found(unmigrated)


def test_marks_of_an_application_are_its_own_in_either_order(server, tmp_path):
    """It uses yoyo with the same table, and numbers like ours. Both go in and come back."""
    for name in ("0001_accounts", "0002_teams"):
        (tmp_path / f"{name}.sql").write_text(f"CREATE TABLE {name[5:]} (id integer);\n")
        (tmp_path / f"{name}.rollback.sql").write_text(f"DROP TABLE {name[5:]};\n")
    ours, theirs = (), (str(tmp_path), "--all")
    for order in ((theirs, ours), (ours, theirs)):
        with clone(server, "unmigrated") as database:
            for way, verdict in (("apply", "applied"), ("rollback", "not applied")):
                for whose in order:
                    well(database.yoyo(way, *whose))
                    verdicts = state(database)
                    assert verdicts.keys() == {MIGRATION, "yoyo lock"}
                    assert whose == theirs or verdicts[MIGRATION]["found"] == verdict


def test_files_that_are_changed_or_missing(migrated, tmp_path):
    checkout = copy_of_the_project(tmp_path / "checkout")
    folder = checkout / "migrations"
    (folder / "SHA256SUMS").unlink()
    (folder / f"{MIGRATION}.rollback.sql").unlink()
    done = migrated.validation("state", cwd=checkout)
    assert done.returncode == 1
    for said in (
        f"file changed: {MIGRATION}.sql is not what", "git restore it and write", "make renew",
        f"rollback file missing: {MIGRATION}.rollback.sql", "git restore it: without it",
    ):  # fmt: skip
        assert said in done.stdout
    shutil.rmtree(folder)
    refused(migrated.validation("state", cwd=checkout), "There are no migrations in")


def test_an_index_whose_build_was_interrupted_is_dropped_and_built_again(migrated, tmp_path):
    checkout = copy_of_the_project(tmp_path / "checkout")
    migrated.execute(INSERT.format(2))
    name, statement = "0002_property_v2_by_title", "INDEX CONCURRENTLY by_title ON properties"
    up = f"-- depends: {MIGRATION}\n-- transactional: false\nCREATE UNIQUE {statement} (title);\n"
    (checkout / "migrations" / f"{name}.sql").write_text(up)
    (checkout / "migrations" / f"{name}.rollback.sql").write_text("DROP INDEX by_title;\n")
    (checkout / "migrations" / "SHA256SUMS").write_text(checksums(checkout / "migrations"))
    expected = checkout / "validation" / "validate" / "10_objects.sql"
    row = f"    VALUES\n    ('{name}', NULL, 'index', 'by_title', 'as its file says'),\n"
    expected.write_text(expected.read_text().replace("    VALUES\n", row, 1))
    assert migrated.run(*migrated.yoyo_command("apply"), cwd=checkout).returncode == 1
    done = migrated.validation("state", "--format", "json", cwd=checkout)
    (verdict,) = [r for r in json.loads(done.stdout)["results"] if r["check"] == name]
    assert verdict["found"].startswith("index half built: invalid index by_title of bestays")
    _, drop, again = verdict["what_to_do"].splitlines()
    migrated.execute("DELETE FROM properties")
    migrated.execute(drop)
    assert again.startswith("python -m operations migrate -d ")
    well(migrated.run(*migrated.yoyo_command("apply"), cwd=checkout))
    well(migrated.validation("state", cwd=checkout))


def test_a_dba_can_paste_what_it_reads(migrated):
    done = migrated.psql("-q", "-At", "-f", "validation/state.sql")
    well(done)
    assert json.loads(done.stdout) == {
        "marks": [MIGRATION], "lock": None, "sessions": [], "kept": None,
    }  # fmt: skip


def test_killed_at_random_moments(unmigrated):
    """Each time the state is named, and its way out leads to exit 0."""
    for how in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM) * 2:
        run = unmigrated.start(*unmigrated.yoyo_command("apply"))
        time.sleep(random.uniform(0, 0.2))
        run.send_signal(how)
        ended(run)
        verdict = settled(unmigrated)[MIGRATION]["found"].partition(":")[0]
        assert verdict in ("not applied", "applied", "committed but not marked")
        follow_the_way_out(unmigrated)
        unmigrated.roll_back()
