"""What other sessions notice of the one lock that apply and rollback need on users."""

from __future__ import annotations

import time

import pytest

from .conftest import MIGRATIONS, TABLES, clone
from .traffic import READ_USERS, WRITE_USERS, Traffic, add_users

HOLD = 3  # seconds that the blocking transaction stays open
WRITING = "UPDATE users SET full_name = 'A' WHERE id = 1"


@pytest.mark.parametrize(
    ("template", "command", "blocking", "others"),
    [("unmigrated", "apply", WRITING, WRITE_USERS), ("migrated", "rollback", READ_USERS, READ_USERS)],
    ids=["apply", "rollback"],
)
def test_nobody_queues_behind_the_waiting_migration(server, template, command, blocking, others):
    with clone(server, template) as database, database.connect() as blocker:
        add_users(database)
        with Traffic(database, others) as traffic:
            with blocker.transaction():
                blocker.execute(blocking)
                migration = database.start(*database.yoyo_command(command))
                time.sleep(HOLD)
                assert migration.poll() is None, migration.stderr.read()
                waited = max(traffic.waits)
            assert migration.wait(10) == 0, migration.stderr.read()
        assert not traffic.errors
        assert len(traffic.waits) > 50
        # With a plain ALTER TABLE or DROP TABLE they would wait until the blocker ends.
        assert waited < HOLD / 6
        assert max(traffic.waits) < HOLD / 6
        assert database.tables() == (set(TABLES) if command == "apply" else set())


def test_gives_up_after_a_minute_names_who_is_in_the_way_and_leaves_nothing(endless_waits):
    for wait in endless_waits:
        _, message = wait.migration.communicate(timeout=75)
        assert wait.migration.returncode != 0
        assert "LockNotAvailable" in message  # SQLSTATE 55P03
        assert f"pid {wait.blocker} (user bestays, application nightly report, open for" in message
        assert "SELECT pg_terminate_backend(pid)" in message
        assert wait.database.dump() == wait.before
        state = wait.database.validation("state").stdout
        assert f"0001_property_v2      {wait.verdict}" in state
        assert "yoyo lock             free" in state


def test_a_prepared_transaction_is_named(unmigrated):
    add_users(unmigrated)
    with unmigrated.connect() as connection:
        connection.execute("BEGIN")
        connection.execute(WRITING)
        connection.execute("PREPARE TRANSACTION 'payment 42'")
        try:
            done = unmigrated.validation("pre-migration")
            assert "prepared transaction 'payment 42' of bestays" in done.stdout
            impatient = (MIGRATIONS / "0001_property_v2.sql").read_text()
            impatient = impatient.replace("'1 minute'", "'1 second'")
            done = unmigrated.psql("-1", "-v", "ON_ERROR_STOP=1", "-c", impatient)
            assert "prepared transaction payment 42 (user bestays" in done.stderr
        finally:
            connection.execute("ROLLBACK PREPARED 'payment 42'")
