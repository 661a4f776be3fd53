"""Apply, roll back, apply again; the rollback gives back exactly what was there."""

import pytest

from .conftest import MIGRATIONS, TABLES, Database, behind, ended, well

FILES = ("0001_property_v2.sql", "0001_property_v2.rollback.sql")
FUNCTION = """
CREATE FUNCTION update_updated_at_column() RETURNS trigger LANGUAGE plpgsql AS $$
begin
  new.updated_at = current_timestamp;  return new;
end $$;
"""
OTHER_USE = """
ALTER TABLE users ADD COLUMN updated_at timestamptz;
CREATE TRIGGER touch BEFORE UPDATE ON users
FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
"""


def test_apply_rollback_apply(unmigrated):
    before = unmigrated.dump()
    unmigrated.apply()
    after = unmigrated.dump()
    assert unmigrated.tables() == set(TABLES)
    well(unmigrated.yoyo("list"), "A         0001_property_v2")
    unmigrated.roll_back()
    assert unmigrated.dump() == before
    well(unmigrated.yoyo("list"), "U         0001_property_v2")
    unmigrated.apply()
    assert unmigrated.dump() == after


def test_psql_does_the_same_as_yoyo(unmigrated, migrated):
    before = unmigrated.dump()
    for name, expected in zip(FILES, (migrated.dump(), before)):
        well(unmigrated.script(MIGRATIONS / name))
        assert unmigrated.dump() == expected


@pytest.mark.parametrize("name", FILES)
def test_without_a_transaction_or_in_another_schema_it_is_refused(migrated, name):
    with migrated.unchanged():
        done = migrated.psql("-v", "ON_ERROR_STOP=1", "-f", str(MIGRATIONS / name))
    assert done.returncode == 3 and "this file must run in one transaction" in done.stderr
    migrated.superuser("CREATE SCHEMA bestays AUTHORIZATION bestays")
    with migrated.unchanged():
        done = migrated.script(MIGRATIONS / name)
    assert done.returncode == 3 and "the current schema is bestays, not public" in done.stderr


def is_touched(database: Database) -> bool:
    database.execute("INSERT INTO users (email) VALUES ('a@example.com')")
    database.execute("UPDATE users SET full_name = 'A'")
    return database.value("SELECT updated_at IS NOT NULL FROM users")


@pytest.mark.parametrize("use", [OTHER_USE, ""], ids=["used", "unused"])
def test_a_function_that_was_there_is_shared_and_stays(unmigrated, use):
    unmigrated.execute(FUNCTION + use)
    with unmigrated.unchanged():
        unmigrated.apply()
        well(unmigrated.validation("validate"))
        unmigrated.roll_back()
    assert not use or is_touched(unmigrated)


def test_a_function_that_found_another_use_stays(migrated):
    migrated.execute(OTHER_USE)
    migrated.roll_back()
    assert is_touched(migrated)
    migrated.apply()
    migrated.execute("DROP TRIGGER touch ON users")
    migrated.roll_back()
    assert migrated.value("SELECT to_regprocedure('update_updated_at_column()')") is None


def test_a_different_function_is_never_overwritten(unmigrated):
    unmigrated.execute(FUNCTION.replace("return new", "return null"))
    with unmigrated.unchanged():
        done = unmigrated.yoyo("apply")
    assert "a different function update_updated_at_column() exists" in done.stderr


def test_only_the_local_database_allows_the_loss(server, migrated):
    allowed = "SELECT current_setting('property_v2.allow_data_loss', true)"
    assert migrated.value(allowed) is None
    server.bootstrap()
    assert Database(server, "bestays").value(allowed) == "on"


def test_small_timeouts_of_the_role_break_nothing(unmigrated):
    settings = ["lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"]
    if unmigrated.server.version >= 17:
        settings.append("transaction_timeout")
    # Long enough for yoyo's own bookkeeping, too short for a wait of the migration
    for setting in settings:
        unmigrated.superuser(
            f"ALTER ROLE bestays IN DATABASE {unmigrated.name} SET {setting} = 1000"
        )
    with unmigrated.holding(user="postgres") as holder:
        waits = f"{behind(holder)} AND xact_start < clock_timestamp() - interval '3 s'"
        command = unmigrated.yoyo_command("apply")
        applying = unmigrated.start_until(waits, "apply has waited longer than that", *command)
    well(ended(applying))
    assert unmigrated.tables() == set(TABLES)
    unmigrated.roll_back()
