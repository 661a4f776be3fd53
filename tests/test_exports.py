"""Exports know whose they are; imports bring in what was exported, change nothing else, or refuse."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .conftest import PROJECT, TABLES, Database, clone
from .conftest import newest as server  # noqa: F401
from .test_operations import Operator, checkout, fill, rows, well  # noqa: F401

USERS = "INSERT INTO users (email) VALUES ('a@example.com'), ('b@example.com'), ('c@example.com')"
AUTHORS = "SELECT title, created_by, updated_by, updated_at FROM properties ORDER BY title"


@pytest.fixture
def operator(checkout, migrated) -> Iterator[Operator]:  # noqa: F811
    """On empty tables, beside the users that the rows of `export` name."""
    migrated.execute(USERS)
    yield Operator(checkout, migrated)
    shutil.rmtree(checkout / "backups", ignore_errors=True)


@pytest.fixture(scope="module")
def source(checkout, servers) -> Iterator[tuple[Database, Path]]:  # noqa: F811
    """A database with hostile rows, and an export of it, kept beside backups/."""
    with clone(servers[0], "migrated") as database:
        fill(database)
        well(Operator(checkout, database).run("export-data"), "500 properties")
        (path,) = (checkout / "backups").glob("*.data")
        yield database, path.rename(checkout / "an export")


@pytest.fixture
def export(source) -> str:
    return str(source[1])


def refused(done, *said: str) -> None:
    """It ends with one sentence and exit code 2."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 1 and "Traceback" not in done.stderr, done.stderr
    for text in said:
        assert text in done.stderr


def until(database: Database, sql: str, process: subprocess.Popen, what: str) -> None:
    """Waits until a query finds a row, while the process runs."""
    deadline = time.monotonic() + 60
    with database.connect("postgres") as watcher:
        while not watcher.execute(sql).fetchone():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, f"waited for {what}"
            time.sleep(0.02)


def start(operator: Operator, *arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        ["python", "-m", "operations", *arguments, "-d", operator.database.url],
        cwd=operator.checkout, env=operator.database.env(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def ended(process: subprocess.Popen) -> subprocess.CompletedProcess:
    output, message = process.communicate(timeout=60)
    return subprocess.CompletedProcess(process.args, process.returncode, output, message)


def empty(database: Database) -> None:
    database.execute(f"TRUNCATE {', '.join(TABLES)} RESTART IDENTITY")


@contextmanager
def locked(database: Database, statement: str) -> Iterator[int]:
    """A transaction of a session called nightly report that stays open; its process id."""
    with database.connect("postgres", application_name="nightly report") as session:
        session.execute("BEGIN")
        session.execute(statement)
        yield session.info.backend_pid


def test_the_newest_export_is_the_latest_whatever_the_time_zone(operator):
    database = operator.database
    fill(database)
    well(operator.run("export-data", TZ="ICT-7"))
    (first,) = operator.backups()
    database.execute("INSERT INTO policies (id, category, data_type) VALUES ('late', 'a', 'text')")
    before = rows(database)
    well(operator.run("export-data", TZ="UTC"))
    latest = operator.backups()[-1]
    assert latest != first
    empty(database)
    well(operator.run("import-data"), f"Importing backups/{latest.name}: 3 amenities")
    assert rows(database) == before


def test_an_environment_takes_no_export_of_one_whose_name_begins_alike(checkout, operator, server):  # noqa: F811
    eu = Operator(checkout, operator.database, "eu")
    with clone(server, "migrated") as database:
        fill(database)
        well(Operator(checkout, database, "eu-west").make("export-data-eu-west"))
        (path,) = (checkout / "backups").glob("bestays_eu-west-*.data")
        done = eu.make("import-data-eu")
        assert "There is no export of this database (bestays_eu) in backups/" in done.stderr
        assert "EXPORT=..." in done.stderr and "make: *** " in done.stderr
        whose = f"from {database.host}, database {database.name}.\n"
        well(eu.make("import-data-eu", f"EXPORT=backups/{path.name}"), path.name, whose)
        assert rows(eu.database) == rows(database)


def test_databases_of_one_name_on_two_servers_share_no_export(checkout, servers):  # noqa: F811
    with clone(servers[1], "migrated", "twin") as there, clone(servers[0], "migrated", "twin") as here:
        fill(there)
        here.execute(USERS)
        well(ended(start(Operator(checkout, there), "export-data")))
        (path,) = (checkout / "backups").glob("twin-*.data")
        operator = Operator(checkout, here)
        refused(ended(start(operator, "import-data")), "no export of this database (twin)")
        done = ended(start(operator, "import-data", "--from", str(path)))
        well(done, f"from {there.host}, database twin.\n")
        assert rows(here) == rows(there)


def test_the_manifest_says_whose_it_is_and_every_part_of_it_counts(operator):
    database = operator.database
    fill(database)
    well(operator.run("export-data"))
    (path,) = operator.backups()
    manifest = json.loads((path / "export.json").read_text())
    system = database.superuser("SELECT system_identifier::text FROM pg_control_system()")[0][0]
    counts = {table: count for table, (count, _) in rows(database).items()}
    assert manifest.pop("exported_at").endswith("+00:00")
    assert manifest == {
        "system_identifier": system, "host": database.host, "database": database.name,
        "migrations": ["0001_property_v2"], "row_counts": counts,
    }  # fmt: skip
    empty(database)
    for part in ("system_identifier", "host", "database"):
        another = {**manifest, "exported_at": "2026-01-01T00:00:00+00:00", part: "another"}
        (path / "export.json").write_text(json.dumps(another))
        refused(operator.run("import-data"), "There is no export of this database (bestays_test)")


WHOLE = '{"system_identifier": "", "host": "", "database": "", "migrations": [], %s}'


@pytest.mark.parametrize(
    "manifest",
    [
        None, b"", b'{"system_identifier": "7', b"\xff\xfe", b"5", b"null", b"[]",
        b'{"properties": 500}',
        WHOLE % '"exported_at": "2026-01-01", "row_counts": 5',
        WHOLE % '"exported_at": "2026-01-01", "row_counts": {}',
        WHOLE % '"exported_at": "2026-01-01", "row_counts": {"properties": "many"}',
        WHOLE % '"exported_at": null, "row_counts": {"properties": 500}',
    ],
)  # fmt: skip
def test_a_manifest_at_fault_is_one_sentence(operator, manifest):
    path = operator.checkout / "backups" / "bestays_test-at-fault.data"
    path.mkdir(parents=True)
    if manifest is not None:
        (path / "export.json").write_bytes(manifest if type(manifest) is bytes else manifest.encode())
    refused(operator.run("import-data", "--from", str(path)), "at-fault.data is no export")
    refused(operator.run("import-data"), "There is no export of this database")


def test_no_export_is_one_sentence(operator):
    refused(operator.run("import-data"), "There is no export of this database (bestays_test)")
    refused(operator.run("import-data", "--from", "nowhere"), "nowhere is no export")


def test_an_export_of_no_rows_makes_no_file(operator):
    well(operator.run("export-data"), "Nothing to export: the tables are empty.")
    well(operator.run("rollback"))
    well(operator.run("export-data"), "Nothing to export: the tables are not there.")
    assert not operator.backups()


def test_import_fills_only_empty_tables(operator, export):
    operator.database.execute("INSERT INTO amenities (id, category) VALUES ('x', 'area')")
    before = operator.database.dump()
    refused(operator.run("import-data", "--from", export), "not empty, they hold 1 amenities")
    assert operator.database.dump() == before


def test_import_without_the_tables_says_what_to_do(operator, export):
    well(operator.run("rollback"))
    done = operator.run("import-data", "--from", export)
    refused(done, "the tables are not there. Apply the migration first")


def test_an_incomplete_export_imports_nothing(operator, export):
    path = Path(shutil.copytree(export, operator.checkout / "backups" / "cut"))
    before = operator.database.dump()
    manifest = json.loads((path / "export.json").read_text())
    manifest["row_counts"]["properties"] = 501
    (path / "export.json").write_text(json.dumps(manifest))
    done = operator.run("import-data", "--from", str(path))
    refused(done, "only 500 of 501 rows of properties came. Nothing was imported")
    assert operator.database.dump() == before

    largest = max(path.glob("*.dat.gz"), key=lambda file: file.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:1000])
    refused(operator.run("import-data", "--from", str(path)), "Import failed, nothing was imported")
    assert operator.database.dump() == before


def test_rows_whose_user_is_gone_come_back_without_author(operator, source):
    there, export = source
    without = [
        (title, created if created != 2 else None, updated if updated != 2 else None, at)
        for title, created, updated, at in there.execute(AUTHORS)
    ]
    operator.database.execute("DELETE FROM users WHERE id = 2")
    done = operator.run("import-data", "--from", str(export))
    well(done, "250 properties came without an author")
    assert operator.database.execute(AUTHORS) == without
    assert operator.database.validation("post-migration").returncode == 0  # the foreign keys too


def test_ids_above_their_sequence_come_back_and_the_next_is_free(operator):
    """Seed files write ids by hand."""
    database = operator.database
    fill(database)
    database.execute("UPDATE policy_translations SET id = 70000 WHERE policy_id = 'pets_allowed'")
    database.execute("UPDATE amenity_translations SET id = -id")
    before = rows(database)
    well(operator.run("export-data"))
    empty(database)
    well(operator.run("import-data"))
    assert rows(database) == before
    new = "INSERT INTO {0}_translations ({0}_id, locale, name) SELECT id, 'fr', '' FROM {1} RETURNING id"
    assert database.value(new.format("policy", "policies")) == 70001
    assert database.value(new.format("amenity", "amenities")) == 6


BELONGINGS = """
SET allow_in_place_tablespaces = on;
CREATE TABLESPACE fast_{name} LOCATION '';
GRANT CREATE ON TABLESPACE fast_{name} TO PUBLIC;
ALTER INDEX idx_properties_tags SET TABLESPACE fast_{name};
COMMENT ON INDEX idx_properties_tags IS 'on the fast disk';
CREATE UNIQUE INDEX by_field ON property_translations (property_id, locale, field);
ALTER TABLE property_translations REPLICA IDENTITY USING INDEX by_field;
ALTER TABLE properties CLUSTER ON idx_properties_transaction_type;
ALTER TABLE properties SET (fillfactor = 70);
ALTER INDEX idx_properties_tags SET (fastupdate = off);
ALTER TABLE properties ALTER COLUMN tags SET STATISTICS 1000;
GRANT SELECT, UPDATE (title) ON properties TO PUBLIC;
CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.icon := 'spoilt';
    RETURN NEW;
END $$;
CREATE TRIGGER spoil BEFORE INSERT OR UPDATE ON amenities FOR EACH ROW EXECUTE FUNCTION spoil();
CREATE TRIGGER spoil_a BEFORE INSERT ON amenities FOR EACH ROW EXECUTE FUNCTION spoil();
ALTER TABLE amenities ENABLE ALWAYS TRIGGER spoil_a;
CREATE TRIGGER spoil_r BEFORE INSERT ON amenities FOR EACH ROW EXECUTE FUNCTION spoil();
ALTER TABLE amenities ENABLE REPLICA TRIGGER spoil_r;
CREATE TRIGGER spoil_d BEFORE INSERT ON amenities FOR EACH ROW EXECUTE FUNCTION spoil();
ALTER TABLE amenities DISABLE TRIGGER spoil_d;
CREATE RULE lost AS ON INSERT TO policies DO INSTEAD NOTHING;
"""


def test_what_is_set_on_the_tables_stays_and_no_trigger_changes_a_row(operator, source):
    there, export = source
    database = operator.database
    with database.connect("postgres") as superuser:
        for statement in re.split(r"(?m);\n(?!\s|END)", BELONGINGS.format(name=database.name)):
            superuser.execute(statement)
    try:
        before = database.dump("--schema-only")
        for part in ("REPLICA IDENTITY USING INDEX by_field", "on the fast disk", "= fast_",
                     "ALWAYS TRIGGER spoil_a", "REPLICA TRIGGER spoil_r", "DISABLE TRIGGER spoil_d",
                     "SET STATISTICS 1000", "fillfactor='70'", "CLUSTER ON", "RULE lost"):  # fmt: skip
            assert part in before
        well(operator.run("import-data", "--from", str(export)))
        assert database.dump("--schema-only") == before
        assert rows(database) == rows(there)
    finally:
        database.superuser("ALTER INDEX idx_properties_tags SET TABLESPACE pg_default")
        database.superuser(f"DROP TABLESPACE fast_{database.name}")


def test_an_import_without_select_on_users_says_the_grant_and_needs_no_temp(operator, source):
    there, export = source
    database = operator.database
    database.superuser("ALTER TABLE users OWNER TO postgres")
    database.superuser(f"ALTER DATABASE {database.name} OWNER TO postgres")
    database.superuser(f"REVOKE TEMP ON DATABASE {database.name} FROM PUBLIC")
    before = database.dump()
    done = operator.run("import-data", "--from", str(export))
    refused(done, "An import looks for users: GRANT ")
    assert "Importing" not in done.stdout and database.dump() == before
    database.superuser(re.search("GRANT .*;", done.stderr)[0])
    assert not database.value("SELECT has_database_privilege(current_database(), 'TEMP')")
    well(operator.run("import-data", "--from", str(export)))
    assert rows(database) == rows(there)


def test_forced_row_security_is_refused_out_and_in(operator, export):
    database = operator.database
    database.execute(
        "ALTER TABLE amenities ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY"
    )
    before = database.dump()
    refused(operator.run("import-data", "--from", export), "row-level security", "amenities")
    assert database.dump() == before
    database.superuser("INSERT INTO amenities (id, category) VALUES ('x', 'area')")
    refused(operator.run("export-data"), "Not exported", "may not read all rows of amenities")
    refused(operator.run("import-data", "--from", export), "row-level security", "amenities")
    assert not operator.backups()


def test_readers_go_on_while_an_import_tries_to_lock_its_tables(operator, source):
    there, export = source
    database = operator.database
    with locked(database, "SELECT count(*) FROM property_translations"):
        importing = start(operator, "import-data", "--from", str(export))
        tries = "application_name = 'psql' AND wait_event = 'PgSleep'"
        until(database, f"SELECT FROM pg_stat_activity WHERE {tries}", importing, "a failed try")
        with database.connect(options="-c statement_timeout=30s") as another:
            for table in TABLES:
                another.execute(f"SELECT count(*) FROM {table}")
            another.execute("UPDATE users SET full_name = 'B'")
        assert importing.poll() is None
    well(ended(importing))
    assert rows(database) == rows(there)


@pytest.mark.parametrize("table", ["users", "properties"])
def test_a_dump_behind_an_exclusive_lock_ends_and_says_who_has_it(operator, table):
    fill(operator.database)
    with locked(operator.database, f"LOCK TABLE {table}") as pid:
        verbs = ["backup-db"] + ["export-data"] * (table == "properties")
        for process in [start(operator, verb) for verb in verbs]:
            refused(ended(process), f"In the way: pid {pid} (postgres, nightly report, open for 0")
    assert not list((operator.checkout / "backups").glob("*"))


@pytest.mark.parametrize("kind", ["file", "folder of another"])
@pytest.mark.parametrize("verb", ["backup-db", "export-data"])
def test_a_folder_for_backups_that_is_not_ours_is_one_sentence(operator, verb, kind):
    fill(operator.database)
    backups = operator.checkout / "backups"
    try:
        if kind == "file":
            backups.write_text("")
        else:
            backups.symlink_to("/proc/self")  # whose rights not even root may change
        refused(operator.run(verb), f"{backups} cannot be used", "give it to you")
    finally:
        backups.unlink()


def test_a_percent_sign_in_yoyo_ini_is_one_sentence(operator, tmp_path):
    (tmp_path / "yoyo.ini").write_text("[DEFAULT]\ndatabase = postgresql://a:%40@/b\n")
    for package, verb in (("operations", "state"), ("validation", "state")):
        done = operator.database.run(
            "python", "-m", "validation", "state", cwd=tmp_path, PYTHONPATH=str(operator.checkout)
        )
        refused(done, f"Cannot read {tmp_path}/yoyo.ini", "a % is written %%")


@pytest.mark.parametrize("program", ["#!/bin/sh\nexit 1\n", "", "#!/bin/sh\nprintf '\\377'\n"])
def test_a_program_that_says_no_version_is_passed_over(operator, program, tmp_path):
    for name in ("psql", "pg_dump", "pg_restore"):
        (tmp_path / name).write_text(program)
        (tmp_path / name).chmod(0o755)
    well(operator.run("backup-db", PATH=f"{tmp_path}:{os.environ['PATH']}"), ".dump: ", " in ")


TERMINATED = "terminating connection due to administrator command"


@pytest.mark.parametrize(
    ("verb", "program", "hold"),
    [
        ("backup-db", "pg_dump", "LOCK TABLE users"),
        ("export-data", "pg_dump", "ALTER SEQUENCE property_translations_id_seq RENAME TO x"),
        ("import-data", "psql", "SELECT FROM users FOR UPDATE"),
    ],
)
def test_a_lost_connection_says_what_postgresql_said(operator, source, verb, program, hold):
    database = operator.database
    options = ("--from", str(source[1])) if verb == "import-data" else fill(database) or ()
    before = database.dump()
    with locked(database, hold) as pid:
        run = start(operator, verb, *options)
        held_up = f"application_name = '{program}' AND {pid} = ANY(pg_blocking_pids(pid))"
        where = f"FROM pg_stat_activity WHERE {held_up}"
        until(database, f"SELECT {where}", run, f"{program} behind the lock")
        database.superuser(f"SELECT pg_terminate_backend(pid) {where}")
        refused(ended(run), TERMINATED)
    assert database.dump() == before
    assert not list((operator.checkout / "backups").glob("*"))
