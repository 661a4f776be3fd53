"""How apply and rollback give up when they do not get their lock on users.

What other sessions notice of it meanwhile is in test_live_traffic.py.
"""

from __future__ import annotations

from .conftest import MIGRATIONS
from .traffic import add_users


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
        connection.execute("UPDATE users SET full_name = 'A' WHERE id = 1")
        connection.execute("PREPARE TRANSACTION 'payment 42'")
        try:
            done = unmigrated.validation("check")
            assert "prepared transaction 'payment 42' of bestays" in done.stdout
            impatient = (MIGRATIONS / "0001_property_v2.sql").read_text()
            impatient = impatient.replace("'1 minute'", "'1 second'")
            done = unmigrated.psql("-1", "-v", "ON_ERROR_STOP=1", "-c", impatient)
            assert "prepared transaction payment 42 (user bestays" in done.stderr
        finally:
            connection.execute("ROLLBACK PREPARED 'payment 42'")
