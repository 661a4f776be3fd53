"""How apply and rollback give up when they do not get their lock on users.

What other sessions notice of it meanwhile is in test_live_traffic.py.
"""

from .conftest import LOCK_USERS, MIGRATIONS, ended


def test_gives_up_after_a_minute_names_who_is_in_the_way_and_leaves_nothing(endless_waits):
    for database, before, verdict, blocker, migration in endless_waits:
        done = ended(migration)
        assert done.returncode != 0
        assert "LockNotAvailable" in done.stderr  # SQLSTATE 55P03
        who = f"pid {blocker} (user bestays, application nightly report, open for"
        assert who in done.stderr and "SELECT pg_terminate_backend(pid)" in done.stderr
        assert database.dump() == before
        _, state = database.state()
        assert state["0001_property_v2"]["found"] == verdict
        assert state["yoyo lock"]["found"] == "free"


def test_a_prepared_transaction_is_named(unmigrated):
    text = (MIGRATIONS / "0001_property_v2.sql").read_text()
    impatient = text.replace("'1 minute'", "'1 second'")
    with unmigrated.connect() as connection:
        connection.execute(f"BEGIN; {LOCK_USERS}; PREPARE TRANSACTION 'payment 42'")
        try:
            done = unmigrated.validation("check")
            assert "prepared transaction 'payment 42' of bestays" in done.stdout
            done = unmigrated.psql("-1", "-v", "ON_ERROR_STOP=1", "-c", impatient)
            assert "prepared transaction payment 42 (user bestays" in done.stderr
        finally:
            connection.execute("ROLLBACK PREPARED 'payment 42'")
