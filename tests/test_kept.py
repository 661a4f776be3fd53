"""A rollback keeps tables with rows; they come back with all that is theirs, or are dropped."""

from __future__ import annotations

import re

import pytest

from .conftest import MIGRATIONS, PROJECT, TABLES, Database, clone
from .test_operations import Operator, checkout, fill, rows, well  # noqa: F401
from .traffic import Traffic

ROLLBACK = MIGRATIONS / "0001_property_v2.rollback.sql"
OPERATIONS = PROJECT / "operations"
ALLOWED = "-c property_v2.allow_data_loss=on"
KEPT = "property_v2_kept"
# What belongs to a table and is no row
BELONGINGS = """
CREATE ROLE {role}_app;
GRANT SELECT, INSERT ON properties, property_translations TO {role}_app;
GRANT UPDATE (title) ON properties TO {role}_app;
GRANT USAGE ON SEQUENCE property_translations_id_seq TO {role}_app;
CREATE PUBLICATION site FOR TABLE users, properties;
ALTER TABLE properties SET (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.01);
ALTER TABLE properties ALTER COLUMN tags SET STATISTICS 1000;
ALTER TABLE properties REPLICA IDENTITY FULL;
CREATE STATISTICS prices ON rent_price, sale_price FROM properties;
CREATE INDEX by_title ON properties (title);
COMMENT ON INDEX by_title IS 'for the back office';
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER touch BEFORE INSERT ON properties FOR EACH ROW EXECUTE FUNCTION touch();
CREATE VIEW published AS SELECT id, title FROM properties WHERE is_published;
ALTER TABLE amenities ENABLE ROW LEVEL SECURITY;
CREATE POLICY everything ON amenities USING (true);
"""


def filled(database: Database) -> Database:
    fill(database)
    return database


def kept_rows(database: Database) -> int:
    return database.value(f"SELECT count(*) FROM {KEPT}.properties")


def roll_back(database: Database, **environment: str) -> None:
    done = database.yoyo("rollback", **environment)
    assert done.returncode == 0, done.stderr


def apply(database: Database) -> None:
    done = database.yoyo("apply")
    assert done.returncode == 0, done.stderr


def operations(database: Database, *arguments: str, **environment: str):
    return database.run("python", "-m", "operations", *arguments, "-d", database.url, **environment)


def refused(done, *said: str, code: int = 2) -> None:
    assert done.returncode == code, done.stdout + done.stderr
    for text in said:
        assert text in done.stderr
    assert "Traceback" not in done.stderr and "CASCADE" not in done.stderr


@pytest.fixture
def operator(checkout, server):
    with clone(server, "migrated") as database:
        yield Operator(checkout, database)


def test_rows_and_all_that_belongs_to_them_come_back_while_users_goes_on(operator):
    database = filled(operator.database)
    role = database.name
    database.superuser(BELONGINGS.format(role=role))
    # The dump is taken after the user is gone, which empties its listings.
    database.execute("INSERT INTO users (email) VALUES ('gone@example.com')")
    gone = database.value("SELECT max(id) FROM users")
    database.execute("UPDATE properties SET created_by = %s WHERE title LIKE '%% 7 %%'", [gone])
    statements = "SELECT count(*) FROM users", "UPDATE users SET full_name = 'B' WHERE id = 2"
    try:
        with Traffic(database, statements[0]) as reads, Traffic(database, statements[1]) as writes:
            done = operator.make("rollback-test")
            well(done, "500 properties", "make migrate-test && make restore-kept-test")
            assert "publication site" in done.stdout
            assert not database.value("SELECT to_regclass('public.properties')")
            well(operator.make("migrate-test"), "make restore-kept-test")
            database.execute("DELETE FROM users WHERE id = %s", [gone])
            before = rows(database, KEPT), database.dump("-N", "public")
            done = operator.make("restore-kept-test")  # what was made by hand fails its checks
            assert "Back are 3 amenities, " in done.stdout and done.stderr.endswith("Error 1\n")
        assert not reads.errors and not writes.errors
        assert rows(database) == before[0]
        assert database.value("SELECT count(*) FROM pg_namespace WHERE nspname ~ 'kept'") == 0
        # Catalog and rows as before: what a table that never went away would be.
        after = database.dump()
        roll_back(database)
        moved = database.dump("-n", KEPT).replace(f"{KEPT}.", "public.")
        assert re.findall("(?m)^ALTER TABLE .*|^CREATE .*|^GRANT .*|^COPY .*", moved)
        apply(database)
        operations(database, "restore-kept")
        assert database.dump() == after
        for belonging in (
            "fillfactor='90'", "REPLICA IDENTITY FULL", "SET STATISTICS 1000", "by_title",
            "CREATE STATISTICS public.prices", "for the back office", "TRIGGER touch",
            "VIEW public.published", "ADD TABLE ONLY public.prop", "POLICY everything",
            f"UPDATE(title) ON TABLE public.properties TO {role}",
            f"SELECT,INSERT ON TABLE public.property_translations TO {role}_app",
            f"SEQUENCE public.property_translations_id_seq TO {role}_app",
        ):  # fmt: skip
            assert belonging in after, belonging
    finally:
        database.superuser(f"DROP OWNED BY {role}_app; DROP ROLE {role}_app")


@pytest.mark.parametrize("how", ["yoyo", "psql"])
def test_plain_yoyo_and_psql_keep_rows_too(migrated, how):
    before = rows(filled(migrated))
    if how == "yoyo":
        roll_back(migrated)
    else:
        done = migrated.psql("-1", "-v", "ON_ERROR_STOP=1", "-f", str(ROLLBACK))
        assert "kept with their rows in schema property_v2_kept" in done.stderr
        assert "make restore-kept" in done.stderr
    assert rows(migrated, KEPT) == before
    assert not migrated.value("SELECT to_regclass('public.amenities')")
    apply(migrated) if how == "yoyo" else migrated.psql(
        "-1", "-f", str(MIGRATIONS / "0001_property_v2.sql")
    )
    done = migrated.psql(
        "-1", "-v", "ON_ERROR_STOP=1", "-f", str(OPERATIONS / "transaction.sql"),
        "-f", str(OPERATIONS / "restore_kept.sql"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert rows(migrated) == before


def test_only_a_bare_yoyo_may_be_told_to_lose_rows(migrated):
    filled(migrated)
    migrated.superuser(f"ALTER DATABASE {migrated.name} SET property_v2.allow_data_loss = on")
    well(operations(migrated, "rollback", PGOPTIONS=ALLOWED), "Kept in schema")
    assert kept_rows(migrated) == 500
    apply(migrated)
    well(operations(migrated, "restore-kept"))
    roll_back(migrated, PGOPTIONS=ALLOWED)
    assert not migrated.tables()


def test_force_row_level_security_hides_no_row(migrated):
    filled(migrated)
    for table in TABLES:
        migrated.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    assert migrated.value("SELECT count(*) FROM properties") == 0
    roll_back(migrated)
    state = migrated.state()[1]["kept tables"]["found"]
    assert "? properties" in state  # nobody says 0 of what this role may not see
    migrated.superuser(f"ALTER TABLE {KEPT}.properties NO FORCE ROW LEVEL SECURITY")
    assert kept_rows(migrated) == 500


def test_a_row_committed_while_the_rollback_waits_is_seen_under_repeatable_read(migrated):
    migrated.superuser(
        f"ALTER DATABASE {migrated.name} SET default_transaction_isolation = 'repeatable read'"
    )
    with migrated.connect() as writer, writer.transaction():
        writer.execute("INSERT INTO amenities (id, category) VALUES ('late', 'area')")
        rollback = migrated.start(*migrated.yoyo_command("rollback"))
        waits = (
            "SELECT 1 FROM pg_stat_activity WHERE application_name = '0001_property_v2.rollback'"
            " AND wait_event IN ('relation', 'PgSleep')"
        )
        while not migrated.execute(waits):
            assert rollback.poll() is None, rollback.stderr.read()
    assert rollback.wait(60) == 0, rollback.stderr.read()
    assert migrated.value(f"SELECT id FROM {KEPT}.amenities") == "late"


def test_a_role_that_may_not_create_schemas_needs_one_made_for_it(migrated):
    filled(migrated)
    migrated.superuser(f"ALTER DATABASE {migrated.name} OWNER TO postgres")
    before = migrated.dump()
    done = migrated.yoyo("rollback")
    assert "bestays may not create the schema property_v2_kept" in done.stderr
    assert migrated.dump() == before
    done = operations(migrated, "rollback")
    refused(done, "CREATE SCHEMA property_v2_kept AUTHORIZATION bestays;")
    migrated.superuser("CREATE SCHEMA property_v2_kept")
    refused(operations(migrated, "rollback"), "GRANT USAGE, CREATE ON SCHEMA property_v2_kept")
    migrated.superuser("GRANT USAGE, CREATE ON SCHEMA property_v2_kept, public TO bestays")
    well(operations(migrated, "rollback"), "Kept in schema")
    apply(migrated)
    well(operations(migrated, "restore-kept"))
    assert migrated.value(f"SELECT to_regnamespace('{KEPT}') IS NOT NULL")  # for the next time


def test_check_tells_beforehand_who_can_keep_no_rows(unmigrated):
    assert "pass  may keep rows" in unmigrated.validation("check").stdout
    unmigrated.superuser(f"ALTER DATABASE {unmigrated.name} OWNER TO postgres")
    done = unmigrated.validation("check")
    assert "warn  may keep rows" in done.stdout
    advice = re.search("CREATE SCHEMA property_v2_kept .*;", done.stdout)[0]
    unmigrated.superuser(advice)
    assert "pass  may keep rows" in unmigrated.validation("check").stdout


def test_a_second_rollback_with_rows_is_refused_and_an_empty_one_is_not(migrated):
    filled(migrated)
    roll_back(migrated)
    apply(migrated)
    roll_back(migrated)  # the new ones are empty
    assert not migrated.value("SELECT to_regclass('public.properties')")
    assert kept_rows(migrated) == 500
    apply(migrated)
    migrated.execute("INSERT INTO amenities (id, category) VALUES ('new', 'area')")
    before = migrated.dump()
    done = operations(migrated, "rollback")
    refused(done, "are kept in property_v2_kept already", f"drop-kept -d '{migrated.url}' removes")
    assert migrated.dump() == before
    done = operations(migrated, "restore-kept")
    refused(done, "the new tables hold 1 amenities", "kept are 3 amenities", "500 properties")
    done = migrated.psql(
        "-1", "-v", "ON_ERROR_STOP=1", "-f", str(OPERATIONS / "transaction.sql"),
        "-f", str(OPERATIONS / "restore_kept.sql"),
    )  # fmt: skip
    assert "the new tables hold rows" in done.stderr
    assert migrated.dump() == before
    assert "The new ones hold 1 amenities" in migrated.state()[1]["kept tables"]["what_to_do"]


def test_where_the_definition_differs_the_rows_are_copied(migrated):
    filled(migrated)
    migrated.execute("ALTER TABLE properties ADD COLUMN memo text DEFAULT 'x'")
    roll_back(migrated)
    apply(migrated)
    done = operations(migrated, "restore-kept")
    assert "defined otherwise than the kept ones: column properties.memo" in done.stdout
    assert "Kept columns without a place: properties.memo" in done.stdout
    well(done, "drop-kept", "checks passed")
    assert kept_rows(migrated) == 500
    migrated.execute(f"ALTER TABLE {KEPT}.properties DROP COLUMN memo")
    assert rows(migrated) == rows(migrated, KEPT)
    highest = migrated.value("SELECT max(id) FROM property_translations")
    assert migrated.value("SELECT nextval('property_translations_id_seq')") == highest + 1
    well(operations(migrated, "drop-kept", "--yes"), "Dropped 3 amenities")
    assert migrated.state()[0] == 0


def test_a_copy_takes_all_rows_or_none(migrated):
    filled(migrated)
    roll_back(migrated)
    apply(migrated)
    migrated.execute("ALTER TABLE property_translations ADD CHECK (locale <> 'th')")
    before = migrated.dump()
    refused(operations(migrated, "restore-kept"), "violates check constraint")
    assert migrated.dump() == before


def test_drop_kept_asks_and_never_drops_what_others_made(migrated):
    filled(migrated)
    roll_back(migrated)
    refused(operations(migrated, "drop-kept"), "500 properties", "YES=1")
    migrated.execute(f"CREATE VIEW mine AS SELECT id FROM {KEPT}.properties")
    before = migrated.dump()
    done = operations(migrated, "drop-kept", "--yes")
    refused(done, "view public.mine depends on table property_v2_kept.properties")
    assert migrated.dump() == before
    migrated.execute("DROP VIEW mine")
    well(operations(migrated, "drop-kept", "--yes"))
    assert migrated.value("SELECT to_regprocedure('update_updated_at_column()')") is None
    assert not migrated.value(f"SELECT to_regnamespace('{KEPT}')")
    refused(operations(migrated, "drop-kept", "--yes"), "Nothing is kept here")
    refused(operations(migrated, "restore-kept"), "Nothing is kept here")


@pytest.mark.parametrize("command", ["restore-kept", "drop-kept"])
def test_who_is_in_the_way_is_named_and_is_not_waited_for_by_others(migrated, command):
    filled(migrated)
    roll_back(migrated)
    apply(migrated)
    with migrated.connect(application_name="report") as reader, reader.transaction():
        reader.execute("SELECT count(*) FROM users")
        yes = ("--yes",) if command == "drop-kept" else ()
        run = migrated.start("python", "-m", "operations", command, *yes, "-d", migrated.url)
        tries = (
            "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE '%_kept.sql'"
            " AND wait_event = 'PgSleep'"
        )
        while not migrated.execute(tries):
            assert run.poll() is None, run.stderr.read()
        with migrated.connect(options="-c statement_timeout=30s") as another:
            another.execute("UPDATE users SET full_name = 'B' WHERE id = 2")
    output, message = run.communicate(timeout=60)
    assert run.returncode == 0, output + message


def test_state_check_monitor_and_migrate_know_kept_tables(migrated):
    filled(migrated)
    roll_back(migrated)
    said = "500 properties, 3,000 property_translations since 20"
    code, found = migrated.state()
    assert code == 1 and said in found["kept tables"]["found"]
    assert found["kept tables"]["what_to_do"].startswith("python -m operations migrate -d ")
    assert said in migrated.validation("check").stdout
    assert "property_translations" in migrated.validation("monitor").stdout.split("kept:")[1]
    well(operations(migrated, "migrate"), "Kept by a rollback: ", said, "restore-kept -d ")


def test_a_later_migration_stops_the_rollback_also_from_an_older_checkout(migrated):
    migrated.execute(
        "INSERT INTO _yoyo_migration VALUES ('x', '0002_later', now() AT TIME ZONE 'UTC')"
    )
    before = migrated.dump()
    done = migrated.yoyo("rollback", "-r", "0001_property_v2")
    assert done.returncode != 0 and "later migrations are applied: 0002_later" in done.stderr
    refused(operations(migrated, "rollback"), "0002_later is marked but unknown here", "Update")
    assert migrated.dump() == before


def test_a_view_on_empty_tables_is_named_and_nothing_advises_cascade(migrated):
    migrated.execute("CREATE VIEW published AS SELECT * FROM properties WHERE is_published")
    before = migrated.dump()
    done = operations(migrated, "rollback")
    refused(done, "view published depends on table properties", "Drop them first")
    assert migrated.dump() == before


def test_rollback_says_why_there_is_nothing_to_take_back(migrated):
    done = operations(migrated, "rollback")
    well(done, "0001_property_v2 is rolled back")
    well(operations(migrated, "rollback"), "Nothing to roll back: no migration is applied.")
    apply(migrated)
    mark = migrated.execute("DELETE FROM _yoyo_migration RETURNING *")[0]
    refused(operations(migrated, "rollback"), "committed but not marked", "yoyo mark -m 0001")
    migrated.execute("INSERT INTO _yoyo_migration VALUES (%s, %s, %s)", mark)
    migrated.execute("DROP INDEX idx_properties_tags")
    refused(operations(migrated, "rollback"), "marked but objects missing", "validate -d ")


@pytest.mark.parametrize("fault", ["rollback file missing", "file changed"])
def test_a_rollback_file_at_fault_is_refused_before(operator, fault):
    file = operator.checkout / "migrations" / ROLLBACK.name
    text = file.read_text()
    before = operator.database.dump()
    try:
        file.unlink() if "missing" in fault else file.write_text(text + "-- x\n")
        refused(operator.run("rollback"), fault)
    finally:
        file.write_text(text)
    assert operator.database.dump() == before
