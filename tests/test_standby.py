"""A streaming standby follows the migration, answers the read-only checks, and takes over."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from datetime import timedelta

import pytest

from local_postgres.server import Server

from .conftest import PROJECT, Database, wait_for, well

ROWS = """
INSERT INTO users (email) VALUES ('a@example.com');
INSERT INTO properties (title, description, transaction_type, property_type, rent_price, created_by)
SELECT 'Villa ' || n, 'x', 'rent', 'villa', n * 100, 1 FROM generate_series(1, 100) AS n;
INSERT INTO property_translations (property_id, locale, field, value)
SELECT id, 'th', 'title', 'วิลล่า 🏡' FROM properties;
"""


@pytest.fixture
def standby(unmigrated) -> Iterator[Database]:
    """The same database on a standby of its server, made by pg_basebackup."""
    primary = unmigrated.server
    data = primary.data.parent / "standby"  # where the server's user may enter
    data.mkdir()
    owner = primary.cluster.stat().st_uid
    os.chown(data, owner, -1)
    subprocess.run(
        [
            primary.program("pg_basebackup"), "-h", unmigrated.host, "-U", "postgres",
            "-D", data / str(primary.version), "-R", "-X", "stream", "-c", "fast", "--no-sync",
        ],
        user=owner, cwd=data, env=unmigrated.env(), check=True, timeout=120,
    )  # fmt: skip
    server = Server(primary.version, data)
    # A standby does not start with fewer than its primary has.
    server.start({"fsync": "off", "max_prepared_transactions": "5"})
    yield Database(server, unmigrated.name)
    server.stop("immediate")


def without_sequences(dump: str) -> list[str]:
    return [line for line in dump.splitlines() if not line.startswith("SELECT pg_catalog.setval")]


def test_a_standby_follows_is_checked_and_takes_over(unmigrated, standby):
    primary = unmigrated
    done = standby.validation("check")
    assert done.returncode == 1 and "a standby" in done.stdout
    assert "Apply on the primary; the standby follows by itself." in done.stdout

    primary.apply()
    primary.execute(ROWS)
    [(position,)] = primary.superuser("SELECT pg_current_wal_flush_lsn()")
    replayed = f"SELECT 1 WHERE pg_last_wal_replay_lsn() >= '{position}'"
    standby.wait_for(replayed, "the standby replays what the primary wrote")
    # A standby's sequences are up to 32 numbers ahead: the primary logs so many at once.
    assert without_sequences(standby.dump()) == without_sequences(primary.dump())

    said = {}
    for command in ("validate", "state", "queries", "monitor"):
        done = standby.validation(command, "--format", "json")
        assert done.returncode == 0 or command == "queries", done.stdout + done.stderr
        said[command] = json.loads(done.stdout)
    untried = {r["check"] for r in said["validate"]["results"] if r["status"] == "warn"}
    assert untried == {"behaviour", "query plan"}
    queries = {r["check"]: r for r in said["queries"]["results"]}
    assert len(queries) == len(list((PROJECT / "queries").glob("*.sql")))
    purge = queries.pop("purge")
    assert purge["status"] == "warn" and purge["p95"] is None
    assert "idx_properties_deleted_at" in purge["indexes"] or not purge["indexes"]
    assert "explained, not timed" in purge["found"] and "read-only" in purge["found"]
    assert all(r["rows"] is not None for r in queries.values())  # each has run, fast or not
    assert said["monitor"]["database"][0]["server_role"] == "standby"
    assert said["monitor"]["translations"][0]["of_properties"] == 100

    # How docs/scaling.md measures the lag
    page = (PROJECT / "docs" / "scaling.md").read_text()
    on_primary, on_standby = re.findall(r"(?s)```sql\n(.*?)```", page)
    wait_for(
        lambda: primary.superuser(on_primary)[0][1:3] == ("streaming", "0 bytes"),
        "the primary sees that the standby has it all",
    )
    wait_for(lambda: standby.value(on_standby) == timedelta(0), "so does the standby")

    standby.superuser("SELECT pg_promote()")
    highest = standby.value("SELECT max(id) FROM property_translations")
    new = standby.value(
        "INSERT INTO property_translations (property_id, locale, field, value)"
        " SELECT id, 'en', 'title', 'Villa' FROM properties LIMIT 1 RETURNING id"
    )
    assert new > highest
    assert standby.value(
        "UPDATE properties SET title = 'New' WHERE title = 'Villa 1'"
        " RETURNING updated_at > created_at"
    )
    # And none "with a warning": no check was left out
    well(standby.validation("validate"), " checks passed.")
