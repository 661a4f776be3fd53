"""Exports know whose they are; imports bring in what was exported and change nothing else.

What interrupts either leaves nothing of it.
"""

import json
import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import TABLES, Database, behind, changed, clone, ended, fill, refused, rows, well
from .conftest import newest as server  # noqa: F401
from .forks import Fork
from .traffic import Traffic

USERS = "INSERT INTO users (email) VALUES ('a@example.com'), ('b@example.com'), ('c@example.com')"
NO_EXPORT = "There is no export of this database (bestays_test)"
AUTHORS = "SELECT title, created_by, updated_by, updated_at FROM properties ORDER BY title"


@pytest.fixture(scope="module")
def export(checkout, servers) -> Iterator[str]:
    """An export of hostile rows, kept beside backups/."""
    shutil.rmtree(checkout / "backups", ignore_errors=True)
    with clone(servers[0], "filled") as database:
        well(database.operations("export-data", cwd=checkout), "500 properties")
    (path,) = (checkout / "backups").glob("*.data")
    yield str(path.rename(checkout / "an export"))
    shutil.rmtree(checkout / "an export")


@pytest.fixture
def full(in_checkout, filled) -> Database:
    """Such rows."""
    return filled.by_service()


@pytest.fixture
def operator(in_checkout, migrated) -> Database:
    """Empty tables, beside the users that the export names."""
    migrated.execute(USERS)
    return migrated.by_service()


def import_command(database: Database, export: Path | str) -> tuple[str, ...]:
    return database.our_command("operations", "import-data", "--from", str(export))


def import_of(database: Database, export: Path | str):
    return database.run(*import_command(database, export))


def out_and_in(database: Database, *said: str, **environment: str) -> None:
    """Exports all rows, empties the tables, and imports the newest export: each is there again."""
    before = rows(database)
    well(database.operations("export-data", **environment), "500 properties")
    database.execute(f"TRUNCATE {', '.join(TABLES)} RESTART IDENTITY")
    well(database.operations("import-data", **environment), "500 properties", *said)
    assert rows(database) == before


def test_the_newest_export_is_the_latest_whatever_the_time_zone(full):
    well(full.operations("export-data", TZ="ICT-7"))
    full.execute("INSERT INTO amenities (id, category) VALUES ('late', 'area')")
    waits = "nobody reads the tables, and a DELETE of a user who is named in them waits"
    out_and_in(full, "4 amenities", waits, TZ="UTC")
    latest = max(full.backups(), key=lambda path: path.stat().st_ctime_ns)
    assert latest == full.backups()[-1]


def test_ids_above_their_sequence_come_back_and_the_next_is_free(full):
    """Seed files write ids by hand. The tables are found under a search path without public."""
    full.execute("UPDATE policy_translations SET id = 70000 WHERE policy_id = 'pets_allowed'")
    full.execute("UPDATE amenity_translations SET id = -id")  # six were drawn, none is left
    out_and_in(full, PGOPTIONS="-c search_path=pg_catalog")
    new = "INSERT INTO {0}_translations ({0}_id, locale, name)"
    new += " SELECT {0}_id, 'fr', '' FROM {0}_translations LIMIT 1 RETURNING id"
    assert full.value(new.format("policy")) == 70001
    assert full.value(new.format("amenity")) == 7


def test_an_environment_takes_no_export_of_another_unless_it_is_named(in_checkout, servers):
    """Though both names begin alike, and the databases have one name on two servers."""
    newer, older = (clone(server, "migrated", "twin") for server in servers)
    with older as there, newer as here:
        fill(there)
        here.execute(USERS)
        well(there.by_service("bestays_eu-west").make("export-data-eu-west"))
        (path,) = there.backups("bestays_eu-west-*.data")
        eu = here.by_service("bestays_eu")
        done = eu.make("import-data-eu")
        assert done.returncode == 2 and "EXPORT=..." in done.stderr
        assert "There is no export of this database (bestays_eu) in backups/" in done.stderr
        whose = f"from {there.host}, database twin.\n"
        well(eu.make("import-data-eu", f"EXPORT=backups/{path.name}"), path.name, whose)
        assert rows(here) == rows(there)


def test_the_manifest_says_whose_it_is_and_every_part_of_it_counts(full):
    well(full.operations("export-data"))
    (path,) = full.backups()
    manifest = json.loads((path / "export.json").read_text())
    system = full.superuser("SELECT system_identifier::text FROM pg_control_system()")[0][0]
    counts = {table: count for table, (count, _) in rows(full).items()}
    assert manifest.pop("exported_at").endswith("+00:00")
    assert manifest == {
        "system_identifier": system, "host": full.host, "database": full.name,
        "migrations": ["0001_property_v2"], "row_counts": counts,
    }  # fmt: skip
    for part in ("system_identifier", "host", "database"):
        another = {**manifest, "exported_at": "2026-01-01T00:00:00+00:00", part: "another"}
        (path / "export.json").write_text(json.dumps(another))
        refused(full.operations("import-data"), NO_EXPORT)


WHOLE = b'{"system_identifier": "", "host": "", "database": "", "migrations": [], %b}'
AT_FAULT = {
    "missing": None,
    "cut": b'{"system_identifier": "7',
    "no UTF-8": b"\xff\xfe",
    "a number": b"5",
    "other keys": b'{"properties": 500}',
    "no counts": WHOLE % b'"exported_at": "2026-01-01", "row_counts": {}',
    "one count": WHOLE % b'"exported_at": "2026-01-01", "row_counts": 5',
    "count in words": WHOLE % b'"exported_at": "2026-01-01", "row_counts": {"properties": "x"}',
    "no time": WHOLE % b'"exported_at": null, "row_counts": {"properties": 500}',
}


def test_a_manifest_at_fault_is_one_sentence(operator, in_checkout):
    for fault, text in AT_FAULT.items():
        path = in_checkout / "backups" / f"bestays_test-{fault}.data"
        path.mkdir(parents=True)
        if text:
            (path / "export.json").write_bytes(text)
        refused(import_of(operator, path), f"{fault}.data is no export")
    refused(operator.operations("import-data"), NO_EXPORT)


def test_without_rows_or_tables_there_is_nothing_to_export_and_no_place_to_import(operator, export):
    well(operator.operations("export-data"), "Nothing to export: the tables are empty.")
    well(operator.operations("rollback"))
    well(operator.operations("export-data"), "Nothing to export: the tables are not there.")
    assert not operator.backups()
    said = "the tables are not there. Apply the migration first: make migrate-test"
    refused(import_of(operator, export), said)


def test_while_an_import_waits_others_read_and_a_row_that_comes_is_seen(operator, export):
    """Under repeatable read, too; it fills only empty tables."""
    operator.prefer("default_transaction_isolation = 'repeatable read'")
    pauses = "application_name = 'psql' AND wait_event = 'PgSleep'"
    with operator.connect() as writer, Traffic(operator, "SELECT FROM amenities") as reads:
        with writer.transaction():
            writer.execute("INSERT INTO amenities (id, category) VALUES ('late', 'area')")
            run = operator.start_until(pauses, "it pauses", *import_command(operator, export))
            reads.three_more()
        refused(ended(run), "amenities is not empty. Nothing was imported")
    assert {table: n for table, (n, _) in rows(operator).items() if n} == {"amenities": 1}


def test_an_incomplete_export_imports_nothing(operator, export, tmp_path):
    path = shutil.copytree(export, tmp_path / "cut")
    manifest = json.loads((path / "export.json").read_text())
    manifest["row_counts"]["properties"] = 501
    (path / "export.json").write_text(json.dumps(manifest))
    with operator.unchanged():
        said = "only 500 of 501 rows of properties came. Nothing was imported"
        refused(import_of(operator, path), said)
        largest = max(path.glob("*.dat.gz"), key=lambda file: file.stat().st_size)
        largest.write_bytes(largest.read_bytes()[:1000])
        refused(import_of(operator, path), "Import failed, nothing was imported")


def test_rows_whose_user_is_gone_come_back_without_author(operator, filled, export):
    without = [
        (title, created if created != 2 else None, updated if updated != 2 else None, at)
        for title, created, updated, at in filled.execute(AUTHORS)
    ]
    operator.execute("DELETE FROM users WHERE id = 2")
    well(import_of(operator, export), "250 properties came without an author")
    assert operator.execute(AUTHORS) == without
    assert operator.validation("validate").returncode == 0  # the foreign keys too


SPOIL = "CREATE TRIGGER {0} BEFORE INSERT ON amenities FOR EACH ROW EXECUTE FUNCTION spoil()"
BELONGINGS = (
    "SET allow_in_place_tablespaces = on",
    "CREATE TABLESPACE {name} LOCATION ''",
    "GRANT CREATE ON TABLESPACE {name} TO PUBLIC",
    "ALTER INDEX idx_properties_tags SET TABLESPACE {name}",
    "ALTER INDEX idx_properties_tags SET (fastupdate = off)",
    "COMMENT ON INDEX idx_properties_tags IS 'on the fast disk'",
    "CREATE UNIQUE INDEX by_field ON property_translations (property_id, locale, field)",
    "ALTER TABLE property_translations REPLICA IDENTITY USING INDEX by_field",
    "ALTER TABLE properties CLUSTER ON properties_pkey, SET (fillfactor = 70)",
    "ALTER TABLE properties ALTER COLUMN tags SET STATISTICS 1000",
    "GRANT SELECT, UPDATE (title) ON properties TO PUBLIC",
    "CREATE RULE lost AS ON INSERT TO amenity_translations DO INSTEAD NOTHING",
    "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS"
    " 'BEGIN NEW.icon := ''spoilt''; RETURN NEW; END'",
    *(SPOIL.format(name) for name in ("plain", "always", "replica", "disabled")),
    "ALTER TABLE amenities ENABLE ALWAYS TRIGGER always, ENABLE REPLICA TRIGGER replica,"
    " DISABLE TRIGGER disabled",
)


def test_what_is_set_on_the_tables_stays_and_no_trigger_changes_a_row(operator, filled, export):
    with operator.connect("postgres") as superuser:
        for statement in BELONGINGS:
            superuser.execute(statement.format(name=f"fast_{operator.name}"))
    try:
        before = operator.dump("--schema-only")
        well(import_of(operator, export))
        assert operator.dump("--schema-only") == before
        assert rows(operator) == rows(filled)
    finally:
        operator.superuser("ALTER INDEX idx_properties_tags SET TABLESPACE pg_default")
        operator.superuser(f"DROP TABLESPACE fast_{operator.name}")


def test_an_import_without_select_on_users_says_a_grant_and_needs_no_temp(operator, filled, export):
    operator.superuser("ALTER TABLE users OWNER TO postgres")
    operator.superuser(f"ALTER DATABASE {operator.name} OWNER TO postgres")
    operator.superuser(f"REVOKE TEMP ON DATABASE {operator.name} FROM PUBLIC")
    assert not operator.value("SELECT has_database_privilege(current_database(), 'TEMP')")
    with operator.unchanged():
        done = import_of(operator, export)
    refused(done, "an import looks for users, whom bestays may not see. GRANT ")
    operator.superuser(re.search("GRANT .*;", done.stderr)[0])
    well(import_of(operator, export))
    assert rows(operator) == rows(filled)


def test_forced_row_security_is_refused_out_and_in(operator, export):
    operator.execute("ALTER TABLE amenities ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    operator.superuser("INSERT INTO amenities (id, category) VALUES ('x', 'area')")
    with operator.unchanged():
        done = operator.operations("export-data")
        refused(done, "Not exported", "may not read all rows of amenities")
        done = import_of(operator, export)
        refused(done, "Import failed: query would be affected by row-level security", "amenities")
    assert not operator.backups()


def test_who_gives_up_says_who_holds_the_tables(operator, in_checkout, export):
    """An import; the way back and the end of kept tables take the same tries."""
    with (  # two tries instead of a minute of them
        changed(in_checkout / "operations" / "tries.sql", "1..80 LOOP", "1..2 LOOP"),
        operator.holding("SELECT FROM amenities") as pid,
    ):
        done = import_of(operator, export)
    refused(done, f"no lock on the tables within a minute; in the way: pid {pid} (bestays, ")


@pytest.mark.parametrize(
    "lock", ["LOCK TABLE properties", "ALTER SEQUENCE property_translations_id_seq RENAME TO x"]
)
def test_a_dump_behind_an_exclusive_lock_ends_and_says_who_has_it(full, lock):
    """And nobody else, as a reader of users is in nobody's way."""
    full.environment["PGAPPNAME"] = "deployment"  # which pg_dump must not be called
    commands = [full.our_command("operations", verb) for verb in ("backup-db", "export-data")]
    with full.holding(lock) as pid, full.holding("SELECT FROM users"):
        for done in map(ended, [full.start(*command) for command in commands]):
            refused(done, f". In the way: pid {pid} (bestays, nightly report, open for ")
            assert done.stderr.count("pid") == 1
    assert not full.backups()


def test_a_folder_for_backups_that_is_not_ours_is_one_sentence(full, in_checkout):
    backups = in_checkout / "backups"
    # A file, and a folder whose rights not even root may change
    for place in (backups.touch, lambda: backups.symlink_to("/proc/self")):
        place()
        try:
            for verb in ("backup-db", "export-data"):
                refused(full.operations(verb), f"{backups} cannot be used", "give it to you")
        finally:
            backups.unlink()


def test_a_percent_sign_in_yoyo_ini_is_one_sentence(migrated, tmp_path):
    (tmp_path / "yoyo.ini").write_text("[DEFAULT]\ndatabase = postgresql://a:%40@/b\n")
    for command in (("operations", "backup-db"), ("validation", "state")):
        done = migrated.run("python", "-m", *command, cwd=tmp_path, PYTHONPATH=str(migrated.cwd))
        refused(done, f"Cannot read {tmp_path}/yoyo.ini", "a % is written %%")


@pytest.mark.parametrize(
    ("verb", "program", "hold"),
    [
        ("backup-db", "pg_dump", "LOCK TABLE users"),
        ("import-data", "psql", "SELECT FROM users FOR UPDATE"),
    ],
)
def test_a_lost_connection_says_what_postgresql_said(operator, export, verb, program, hold):
    options = ("--from", export) if verb == "import-data" else ()
    command = operator.our_command("operations", verb, *options)
    with operator.unchanged(), operator.holding(hold, "postgres") as pid:
        run = operator.start_until(behind(pid), f"{program} waits", *command)
        # Both at once, as the end of one is the end of the other
        operator.terminate(f"application_name IN ('{program}', 'python -m operations')")
        refused(ended(run), "terminating connection due to administrator command", " failed: ")
    assert not operator.backups()


MANY_ROWS = """
INSERT INTO properties (title, description, transaction_type, property_type, rent_price)
SELECT n, (SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 40) WHERE n > 0),
    'rent', 'villa', 1 FROM generate_series(1, 15000) AS n;
"""
SIGNALS = {"SIGKILL": signal.SIGKILL, "Ctrl-C": signal.SIGINT}
WAYS = (*SIGNALS, "session terminated")
ALONE = "SIGTERM to it alone"  # as at the end of a job: what it started must not go on
# Holds an import up in the middle of its rows. Its foreign keys to users, checked at its end, are
# held up by a lock on the user.
HOLD_IMPORT = """
ALTER TABLE properties
ADD CONSTRAINT hold CHECK (title !~ ' 250 ' OR pg_advisory_xact_lock(1)::text = '');
"""
IMPORT_HOLDS = {
    "rows": "SELECT pg_advisory_xact_lock(1)",
    "foreign keys": "SELECT FROM users FOR UPDATE",
}


def strike(database: Database, process: Fork, how: str) -> None:
    """It says in a sentence that it failed, unless it was killed, and leaves no session."""
    if how in SIGNALS:
        os.killpg(process.pid, SIGNALS[how])
    elif how == ALONE:
        os.kill(process.pid, signal.SIGTERM)
    else:
        assert database.terminate("application_name IN ('pg_dump', 'psql')")
    done = ended(process)
    if how == "SIGKILL":
        assert (done.returncode, done.stderr) == (-signal.SIGKILL, "")
    else:
        refused(done)
    database.wait_until_alone("usename = 'bestays'")


@pytest.fixture(scope="module")
def many(servers) -> Iterator[Database]:
    with clone(servers[0], "migrated") as database:
        database.execute(MANY_ROWS)
        yield database


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("command", ["backup-db", "export-data"])
def test_a_dump_struck_half_way(many, in_checkout, command, how):
    dump = many.start(*many.our_command("operations", command))
    copying = "SELECT 1 FROM pg_stat_progress_copy WHERE datname = current_database()"
    many.wait_for(f"{copying} AND tuples_processed > 0", "it copies rows", process=dump)
    strike(many, dump, how)
    left = many.backups()
    assert all(path.suffix == ".partial" for path in left), "half a dump looks like a whole one"
    assert how == "SIGKILL" or not left, "it did not clean up"


@pytest.mark.parametrize("how", [*WAYS, ALONE])
@pytest.mark.parametrize("place", IMPORT_HOLDS)
def test_an_import_struck_half_way_leaves_nothing_of_it(operator, export, place, how):
    operator.superuser(HOLD_IMPORT)
    command = import_command(operator, export)
    with operator.unchanged(), operator.holding(IMPORT_HOLDS[place], "postgres") as holder:
        run = operator.start_until(behind(holder), f"it comes to its {place}", *command)
        strike(operator, run, how)


def test_the_server_ends_an_import_whose_client_was_stopped(operator, filled, export):
    command = import_command(operator, export)
    with operator.unchanged():
        with operator.holding(IMPORT_HOLDS["foreign keys"], "postgres") as holder:
            run = operator.start_until(behind(holder), "it holds its tables", *command)
            os.killpg(run.pid, signal.SIGSTOP)
        operator.wait_until_alone("application_name = 'psql'")
        os.killpg(run.pid, signal.SIGCONT)
        refused(ended(run), "Import failed: ")
    well(import_of(operator, export))
    assert rows(operator) == rows(filled)
