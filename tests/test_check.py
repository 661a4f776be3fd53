"""The checks that warn, or that only a special server makes fail: each for real, once."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager

import pytest

from .conftest import PROJECT, Database, clone
from .traffic import add_users

CHECKS = PROJECT / "validation" / "check"


def results(database: Database, **environment: str) -> dict[str, dict]:
    done = database.validation("check", "--format", "json", **environment)
    assert done.returncode in (0, 1), done.stderr
    return {r["check"]: r for r in json.loads(done.stdout)["results"]}


@contextmanager
def session(database: Database, statement: str, user: str = "bestays", name: str = "report"):
    with database.connect(user, application_name=name) as connection, connection.transaction():
        connection.execute(statement)
        yield connection.info.backend_pid


def test_all_is_well(unmigrated):
    found = results(unmigrated)
    assert {r["status"] for r in found.values()} == {"pass"}
    assert unmigrated.validation("check").returncode == 0


def test_a_transaction_on_users(unmigrated):
    add_users(unmigrated)
    with session(unmigrated, "UPDATE users SET full_name = 'A' WHERE id = 1") as pid:
        row = results(unmigrated)["sessions on users"]
    assert row["status"] == "warn"
    found = rf"transaction {pid} of bestays \(report\), open for \d\d:\d\d:\d\d\b"
    assert re.match(found, row["found"]), row
    assert f"pg_terminate_backend({pid})" in row["what_to_do"]


def test_a_transaction_of_another_role_shows_no_age(unmigrated):
    with session(unmigrated, "LOCK TABLE users IN ROW EXCLUSIVE MODE", user="postgres") as pid:
        row = results(unmigrated)["sessions on users"]
    assert f"transaction {pid} of postgres (report), age not visible" in row["found"]


def test_a_reader_is_not_in_the_way(unmigrated):
    with session(unmigrated, "SELECT FROM users"):
        assert results(unmigrated)["sessions on users"]["status"] == "pass"


def test_a_running_dump(unmigrated):
    with session(unmigrated, "LOCK TABLE users IN ACCESS SHARE MODE", name="pg_dump") as pid:
        row = results(unmigrated)["sessions on users"]
    assert row["status"] == "warn"
    assert row["found"].startswith(f"dump {pid} of bestays")
    assert "a rollback would wait for it" in row["what_to_do"]


def test_a_vacuum_by_hand_and_one_against_wraparound(unmigrated):
    add_users(unmigrated)
    unmigrated.execute("ALTER TABLE users SET (autovacuum_enabled = off)")
    for old, said in ((False, "An autovacuum gives way"), (True, "It does not give way")):
        if old:
            unmigrated.execute("ALTER TABLE users SET (autovacuum_freeze_max_age = 100000)")
            unmigrated.execute(
                "CREATE PROCEDURE burn() LANGUAGE plpgsql AS $$ BEGIN FOR i IN 1..110000 LOOP"
                " PERFORM txid_current(); COMMIT; END LOOP; END $$"
            )
            unmigrated.execute("CALL burn()")
        with session(unmigrated, "LOCK TABLE users IN SHARE UPDATE EXCLUSIVE MODE") as pid:
            row = results(unmigrated)["sessions on users"]
        assert row["found"].startswith(f"vacuum {pid} of bestays")
        assert said in row["what_to_do"]


def test_idle_session_timeout(unmigrated):
    row = results(unmigrated, PGOPTIONS="-c idle_session_timeout=30s")["idle_session_timeout"]
    assert (row["status"], row["found"]) == ("warn", "30 s")
    assert "PGOPTIONS='-c idle_session_timeout=0' yoyo apply" in row["what_to_do"]
    row = results(unmigrated, PGOPTIONS="-c idle_session_timeout=10min")["idle_session_timeout"]
    assert row["status"] == "pass"


@pytest.mark.parametrize(
    ("free", "status", "said"),
    [("", "warn", "unknown free"), ("1048576", "fail", "1024 kB free"), ("9e9", "fail", "")],
)
def test_disk_space(unmigrated, free, status, said):
    if free == "9e9":
        row = results(unmigrated)["disk space"]
        assert row["status"] == "pass" and "GB free" in row["found"]
        return
    done = unmigrated.psql(
        "-At", "-f", str(CHECKS / "70_disk.sql"),
        PGOPTIONS=f"-c property_v2.free_bytes={free}",
    )  # fmt: skip
    assert f"disk space|{status}|{said}" in done.stdout


def test_vector_not_available(servers):
    server = servers[0]  # 18 can be told where to look for extensions
    with clone(server, "unmigrated") as database:
        database.superuser("DROP EXTENSION vector")
        database.superuser(
            f"ALTER DATABASE {database.name} SET extension_control_path = '/nowhere'"
        )
        row = results(database)["extension vector"]
    assert (row["status"], row["found"]) == ("fail", "not available on this server")
    assert "Install pgvector" in row["what_to_do"]


def test_the_same_function_will_be_shared(unmigrated):
    unmigrated.execute(
        "CREATE FUNCTION update_updated_at_column() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN NEW.updated_at = CURRENT_TIMESTAMP; RETURN NEW; END'"
    )
    row = results(unmigrated)["trigger function"]
    assert row["status"] == "pass" and "it will be shared" in row["found"]


def test_a_lock_is_waited_for_no_longer_than_five_seconds(unmigrated):
    """A check that cannot run is a failed check, not a crash, and the others run."""
    with session(unmigrated, "LOCK TABLE pg_settings", user="postgres"):
        row = results(unmigrated)["idle session"]
    assert row["status"] == "fail"
    assert "could not be checked: canceling statement due to lock timeout" in row["found"]
