"""Every state is produced for real, named rightly, and its way out leads to exit 0."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from .conftest import PROJECT, Database, clone

MIGRATION = "0001_property_v2"
NAMED = ("not applied", "applied", "committed but not marked")


def state(database: Database) -> dict[str, dict]:
    """The verdicts by subject; checks that the exit code is 0 exactly if nothing is to do."""
    code, results = database.state()
    assert code == (0 if all(r["status"] == "pass" for r in results.values()) else 1)
    return results


def settled(database: Database) -> dict[str, dict]:
    """The verdicts as soon as no backend of a killed run is at work any more."""
    for _ in range(100):
        verdicts = state(database)
        if all("running now" not in r["found"] and "held by" not in r["found"]
               for r in verdicts.values()):  # fmt: skip
            return verdicts
        time.sleep(0.1)
    raise AssertionError(f"still running: {verdicts}")


def follow_the_way_out(database: Database) -> None:
    """Does what state advises until nothing is left to do."""
    for _ in range(5):
        verdicts = settled(database)
        advice = [r["what_to_do"] for r in verdicts.values() if r["status"] != "pass"]
        if not advice:
            return
        # The lock first: it stops every other command.
        command = next((a for a in advice if "yoyo break-lock" in a), advice[0])
        if "Prove it" in command:
            assert database.validation("validate").returncode == 0
        run = re.search(r"yoyo ([a-z-]+( -m \w+)?) -d |(operations migrate) -d ", command)
        assert database.yoyo(*(run[1] or "apply").split()).returncode == 0, command
    raise AssertionError(f"no way out: {verdicts}")


@contextmanager
def waiting_for_users(database: Database, command: str):
    """A run of yoyo that waits for its lock on users as long as the block lasts."""
    with database.connect() as blocker, blocker.transaction():
        blocker.execute("LOCK TABLE users IN ROW EXCLUSIVE MODE")
        run = database.start(*database.yoyo_command(command))
        at_work = f"SELECT 1 FROM pg_stat_activity WHERE application_name LIKE '{MIGRATION}%'"
        while not database.execute(at_work):
            assert run.poll() is None, run.stderr.read()
            time.sleep(0.05)
        yield run


def test_not_applied(unmigrated):
    assert state(unmigrated)[MIGRATION]["found"] == "not applied"
    follow_the_way_out(unmigrated)
    assert state(unmigrated)[MIGRATION]["found"] == "applied"
    done = unmigrated.validation("state")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        f"  pass  {MIGRATION:<20}  applied",
        f"  pass  {'yoyo lock':<20}  free",
    ]


@pytest.mark.parametrize("command", ["apply", "rollback"])
def test_running_now(server, command):
    with clone(server, "unmigrated" if command == "apply" else "migrated") as database:
        with waiting_for_users(database, command) as run:
            verdicts = state(database)
            assert "running now: pid" in verdicts[MIGRATION]["found"]
            assert "of bestays" in verdicts[MIGRATION]["found"]
            assert f"held by process {run.pid} " in verdicts["yoyo lock"]["found"]
            done = database.validation("check")
            assert done.returncode == 1 and "running now" in done.stdout
        assert run.wait() == 0


def kill_bookkeeping(database: Database) -> None:
    """Ends yoyo's first connection, which marks the migration after its commit."""
    ended = database.superuser(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND query LIKE '%yoyo%' AND state = 'idle'"
    )
    assert ended == [(True,)]


def test_committed_but_not_marked(unmigrated):
    with waiting_for_users(unmigrated, "apply") as run:
        kill_bookkeeping(unmigrated)
    assert run.wait() != 0
    verdicts = settled(unmigrated)
    assert "committed but not marked" in verdicts[MIGRATION]["found"]
    assert "validate" in verdicts[MIGRATION]["what_to_do"]
    assert f"yoyo mark -m {MIGRATION}" in verdicts[MIGRATION]["what_to_do"]
    done = unmigrated.validation("check")
    assert done.returncode == 1 and "committed but not marked" in done.stdout
    follow_the_way_out(unmigrated)
    assert state(unmigrated)[MIGRATION]["found"] == "applied"


def test_marked_but_one_object_missing(migrated):
    migrated.execute("DROP INDEX idx_properties_tags")
    verdict = state(migrated)[MIGRATION]
    assert verdict["found"] == "marked but objects missing: index idx_properties_tags"
    done = migrated.validation("validate", "--format", "json")
    (finding,) = [
        r for r in json.loads(done.stdout)["results"]
        if r["status"] == "fail" and r["check"] == "indexes"
    ]  # fmt: skip
    migrated.execute(finding["what_to_do"])
    assert state(migrated)[MIGRATION]["found"] == "applied"


def test_marked_but_a_table_missing_can_be_rolled_back(migrated):
    migrated.execute("DROP TABLE property_translations")
    assert "marked but objects missing: " in state(migrated)[MIGRATION]["found"]
    assert migrated.yoyo("rollback").returncode == 0
    assert state(migrated)[MIGRATION]["found"] == "not applied"
    assert not migrated.tables()


def test_partly_there(unmigrated):
    unmigrated.superuser("CREATE TABLE policies (id integer); CREATE VIEW amenities AS SELECT 1")
    verdict = state(unmigrated)[MIGRATION]
    assert "partly there: 2 of its 32 objects" in verdict["found"]
    assert "view amenities of postgres, table policies of postgres" in verdict["found"]


def test_marked_by_a_newer_checkout(migrated):
    migrated.execute(
        "INSERT INTO _yoyo_migration VALUES ('x', '0002_later', now() AT TIME ZONE 'UTC')"
    )
    assert "marked but unknown here" in state(migrated)["0002_later"]["found"]


@pytest.fixture
def checkout(tmp_path):
    for name in ("validation", "migrations"):
        shutil.copytree(PROJECT / name, tmp_path / name)
    shutil.copy(PROJECT / "yoyo.ini", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "change", "found", "what_to_do"),
    [
        (f"{MIGRATION}.sql", "edit", "file changed", "git restore"),
        (f"{MIGRATION}.rollback.sql", "edit", "file changed", "git restore"),
        (f"{MIGRATION}.rollback.sql", "delete", "rollback file missing", "git restore"),
        ("SHA256SUMS", "delete", "file changed", "make renew"),
    ],
)
def test_files(checkout, migrated, name, change, found, what_to_do):
    file = checkout / "migrations" / name
    file.write_text(file.read_text() + "-- x\n") if change == "edit" else file.unlink()
    done = subprocess.run(
        [sys.executable, "-m", "validation", "state", "-d", migrated.url],
        cwd=checkout, env=migrated.env(), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert found in done.stdout and what_to_do in done.stdout


def test_no_migrations_is_said(checkout, migrated):
    shutil.rmtree(checkout / "migrations")
    done = subprocess.run(
        [sys.executable, "-m", "validation", "state", "-d", migrated.url],
        cwd=checkout, env=migrated.env(), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert "There are no migrations in" in done.stderr


def test_killed_at_25_random_moments(unmigrated):
    """On both versions, so 50; each time the state is named and its way out leads to exit 0."""
    struck = set()
    for _ in range(25):
        run = unmigrated.start(*unmigrated.yoyo_command("apply"))
        time.sleep(random.uniform(0.2, 0.5))
        os.kill(run.pid, random.choice([signal.SIGKILL, signal.SIGINT, signal.SIGTERM]))
        run.communicate()
        struck.add(settled(unmigrated)[MIGRATION]["found"])
        follow_the_way_out(unmigrated)
        assert unmigrated.yoyo("rollback").returncode == 0
    assert all(s.split(":")[0] in NAMED for s in struck), struck
