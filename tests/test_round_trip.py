"""Apply, roll back, apply again; the rollback gives back exactly what was there."""

from __future__ import annotations

import pytest

from .conftest import MIGRATIONS, TABLES, Database

FUNCTION = """
CREATE FUNCTION update_updated_at_column() RETURNS trigger LANGUAGE plpgsql AS $$
begin
  new.updated_at = current_timestamp;  return new;
end $$
"""


def apply(database: Database) -> None:
    done = database.yoyo("apply")
    assert done.returncode == 0, done.stderr


def roll_back(database: Database, **environment: str) -> None:
    done = database.yoyo("rollback", **environment)
    assert done.returncode == 0, done.stderr


def test_apply_rollback_apply(unmigrated):
    before = unmigrated.dump()
    apply(unmigrated)
    after = unmigrated.dump()
    assert unmigrated.tables() == set(TABLES)
    assert "A         0001_property_v2" in unmigrated.yoyo("list").stdout
    roll_back(unmigrated)
    assert unmigrated.dump() == before
    assert "U         0001_property_v2" in unmigrated.yoyo("list").stdout
    apply(unmigrated)
    assert unmigrated.dump() == after


def test_psql_does_the_same_as_yoyo(unmigrated, migrated):
    before = unmigrated.dump()
    forward, back = "0001_property_v2.sql", "0001_property_v2.rollback.sql"
    for name, expected in ((forward, migrated.dump()), (back, before)):
        done = unmigrated.psql("-1", "-v", "ON_ERROR_STOP=1", "-f", str(MIGRATIONS / name))
        assert done.returncode == 0, done.stderr
        assert unmigrated.dump() == expected


@pytest.mark.parametrize("name", ["0001_property_v2.sql", "0001_property_v2.rollback.sql"])
def test_psql_without_a_transaction_is_refused(migrated, name):
    before = migrated.dump()
    done = migrated.psql("-v", "ON_ERROR_STOP=1", "-f", str(MIGRATIONS / name))
    assert done.returncode == 3
    assert "this file must run in one transaction" in done.stderr
    assert migrated.dump() == before


def test_a_function_that_was_there_is_shared_and_stays(unmigrated):
    unmigrated.execute(FUNCTION)
    unmigrated.execute("ALTER TABLE users ADD COLUMN updated_at timestamptz")
    unmigrated.execute(
        "CREATE TRIGGER touch BEFORE UPDATE ON users"
        " FOR EACH ROW EXECUTE FUNCTION update_updated_at_column()"
    )
    before = unmigrated.dump()
    apply(unmigrated)
    assert unmigrated.validation("validate").returncode == 0
    roll_back(unmigrated)
    assert unmigrated.dump() == before
    unmigrated.execute("INSERT INTO users (email) VALUES ('a@example.com')")
    unmigrated.execute("UPDATE users SET full_name = 'A'")
    assert unmigrated.value("SELECT updated_at IS NOT NULL FROM users")


def test_a_function_that_was_there_stays_even_unused(unmigrated):
    unmigrated.execute(FUNCTION)
    before = unmigrated.dump()
    apply(unmigrated)
    roll_back(unmigrated)
    assert unmigrated.dump() == before


def test_a_function_that_found_another_use_stays(migrated):
    migrated.execute("ALTER TABLE users ADD COLUMN updated_at timestamptz")
    migrated.execute(
        "CREATE TRIGGER touch BEFORE UPDATE ON users"
        " FOR EACH ROW EXECUTE FUNCTION update_updated_at_column()"
    )
    roll_back(migrated)
    migrated.execute("INSERT INTO users (email) VALUES ('a@example.com')")
    migrated.execute("UPDATE users SET full_name = 'A'")
    assert migrated.value("SELECT updated_at IS NOT NULL FROM users")
    apply(migrated)
    migrated.execute("DROP TRIGGER touch ON users")
    roll_back(migrated)
    assert migrated.value("SELECT to_regprocedure('update_updated_at_column()')") is None


def test_a_different_function_is_never_overwritten(unmigrated):
    unmigrated.execute(FUNCTION.replace("return new", "return null"))
    before = unmigrated.dump()
    done = unmigrated.yoyo("apply")
    assert "a different function update_updated_at_column() exists" in done.stderr
    assert unmigrated.dump() == before


def test_only_the_local_database_allows_the_loss(server, migrated):
    allowed = "SELECT current_setting('property_v2.allow_data_loss', true)"
    assert migrated.value(allowed) is None
    server.bootstrap()
    assert Database(server, "bestays").value(allowed) == "on"


@pytest.mark.parametrize("name", ["0001_property_v2.sql", "0001_property_v2.rollback.sql"])
def test_another_current_schema_is_refused(migrated, name):
    migrated.superuser("CREATE SCHEMA bestays AUTHORIZATION bestays")
    before = migrated.dump()
    done = migrated.psql("-1", "-f", str(MIGRATIONS / name))
    assert "the current schema is bestays, not public" in done.stderr
    assert migrated.dump() == before


def test_small_timeouts_of_the_role_break_nothing(unmigrated):
    settings = ["lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"]
    if unmigrated.server.version >= 17:
        settings.append("transaction_timeout")
    # 250 ms: long enough for yoyo's own bookkeeping, too short for a wait of the migration.
    for setting in settings:
        unmigrated.superuser(f"ALTER DATABASE {unmigrated.name} SET {setting} = '250ms'")
    with unmigrated.connect() as blocker, blocker.transaction():
        blocker.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        if unmigrated.server.version >= 17:
            blocker.execute("SET LOCAL transaction_timeout = 0")
        blocker.execute("LOCK TABLE users IN ROW EXCLUSIVE MODE")
        applying = unmigrated.start(*unmigrated.yoyo_command("apply"))
        with pytest.raises(Exception, match="timed out"):
            applying.wait(2)
    assert applying.wait() == 0, applying.stderr.read()
    assert unmigrated.tables() == set(TABLES)
    roll_back(unmigrated)
