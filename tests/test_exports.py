"""Exports know whose they are; imports bring in what was exported and change nothing else."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import TABLES, Database, behind, clone, ended, fill, refused, rows, well
from .conftest import newest as server  # noqa: F401
from .test_operations import Operator
from .traffic import Traffic

USERS = "INSERT INTO users (email) VALUES ('a@example.com'), ('b@example.com'), ('c@example.com')"
AUTHORS = "SELECT title, created_by, updated_by, updated_at FROM properties ORDER BY title"


@pytest.fixture(scope="module")
def source(checkout, servers) -> Iterator[tuple[Database, str]]:
    """A database with hostile rows, and an export of it, kept beside backups/."""
    shutil.rmtree(checkout / "backups", ignore_errors=True)
    with clone(servers[0], "filled") as database:
        well(Operator(checkout, database).run("export-data"), "500 properties")
        (path,) = (checkout / "backups").glob("*.data")
        yield database, str(path.rename(checkout / "an export"))
    shutil.rmtree(checkout / "an export")


@pytest.fixture
def full(checkout, source, server) -> Iterator[Operator]:
    """On a copy of that database."""
    shutil.rmtree(checkout / "backups", ignore_errors=True)
    with clone(server, source[0].name) as database:
        yield Operator(checkout, database)


@pytest.fixture
def operator(checkout, migrated) -> Operator:
    """On empty tables, beside the users that the export names."""
    shutil.rmtree(checkout / "backups", ignore_errors=True)
    migrated.execute(USERS)
    return Operator(checkout, migrated)


def empty(database: Database) -> None:
    database.execute(f"TRUNCATE {', '.join(TABLES)} RESTART IDENTITY")


def test_the_newest_export_is_the_latest_whatever_the_time_zone(full):
    database = full.database
    well(full.run("export-data", TZ="ICT-7"))
    database.execute("INSERT INTO amenities (id, category) VALUES ('late', 'area')")
    before = rows(database)
    well(full.run("export-data", TZ="UTC"))
    latest = max(full.backups(), key=lambda path: path.stat().st_ctime_ns)
    assert latest == full.backups()[-1]
    empty(database)
    waits = "nobody reads the tables, and a DELETE of a user who is named in them waits"
    well(full.run("import-data"), f"Importing backups/{latest.name}: 4 amenities", waits)
    assert rows(database) == before


def test_the_tables_are_found_under_a_search_path_without_public(full):
    before, elsewhere = rows(full.database), {"PGOPTIONS": "-c search_path=pg_catalog"}
    well(full.run("export-data", **elsewhere), "500 properties")
    empty(full.database)
    well(full.run("import-data", **elsewhere), "500 properties")
    assert rows(full.database) == before


def test_an_environment_takes_no_export_of_one_whose_name_begins_alike(full, operator):
    eu = Operator(operator.checkout, operator.database, "eu")
    there = full.database
    well(Operator(full.checkout, there, "eu-west").make("export-data-eu-west"))
    (path,) = (full.checkout / "backups").glob("bestays_eu-west-*.data")
    done = eu.make("import-data-eu")
    assert done.returncode == 2 and "EXPORT=..." in done.stderr
    assert "There is no export of this database (bestays_eu) in backups/" in done.stderr
    whose = f"from {there.host}, database {there.name}.\n"
    well(eu.make("import-data-eu", f"EXPORT=backups/{path.name}"), path.name, whose)
    assert rows(eu.database) == rows(there)


def test_databases_of_one_name_on_two_servers_share_no_export(checkout, servers):
    newer, older = (clone(server, "migrated", "twin") for server in servers)
    with older as there, newer as here:
        fill(there)
        here.execute(USERS)
        well(ended(Operator(checkout, there).start("export-data")))
        (path,) = (checkout / "backups").glob("twin-*.data")
        operator = Operator(checkout, here)
        refused(ended(operator.start("import-data")), "no export of this database (twin)")
        done = ended(operator.start("import-data", "--from", str(path)))
        well(done, f"from {there.host}, database twin.\n")
        assert rows(here) == rows(there)


def test_the_manifest_says_whose_it_is_and_every_part_of_it_counts(full):
    database = full.database
    well(full.run("export-data"))
    (path,) = full.backups()
    manifest = json.loads((path / "export.json").read_text())
    system = database.superuser("SELECT system_identifier::text FROM pg_control_system()")[0][0]
    counts = {table: count for table, (count, _) in rows(database).items()}
    assert manifest.pop("exported_at").endswith("+00:00")
    assert manifest == {
        "system_identifier": system, "host": database.host, "database": database.name,
        "migrations": ["0001_property_v2"], "row_counts": counts,
    }  # fmt: skip
    for part in ("system_identifier", "host", "database"):
        another = {**manifest, "exported_at": "2026-01-01T00:00:00+00:00", part: "another"}
        (path / "export.json").write_text(json.dumps(another))
        refused(full.run("import-data"), "There is no export of this database (bestays_test)")


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


@pytest.mark.parametrize("fault", AT_FAULT)
def test_a_manifest_at_fault_is_one_sentence(operator, fault):
    path = operator.checkout / "backups" / "bestays_test-at-fault.data"
    path.mkdir(parents=True)
    if AT_FAULT[fault]:
        (path / "export.json").write_bytes(AT_FAULT[fault])
    refused(operator.run("import-data", "--from", str(path)), "at-fault.data is no export")
    refused(operator.run("import-data"), "There is no export of this database (bestays_test)")


def test_without_rows_or_tables_there_is_nothing_to_export_and_no_place_to_import(operator, source):
    well(operator.run("export-data"), "Nothing to export: the tables are empty.")
    well(operator.run("rollback"))
    well(operator.run("export-data"), "Nothing to export: the tables are not there.")
    assert not operator.backups()
    done = operator.run("import-data", "--from", source[1])
    refused(done, "the tables are not there. Apply the migration first")


def test_import_fills_only_empty_tables(operator, source):
    operator.database.execute("INSERT INTO amenities (id, category) VALUES ('x', 'area')")
    before = operator.database.dump()
    refused(operator.run("import-data", "--from", source[1]), "amenities is not empty")
    assert operator.database.dump() == before


def test_readers_go_on_while_an_import_waits_for_its_tables(operator, source):
    database, read = operator.database, "SELECT FROM amenities"
    with database.holding(read), Traffic(database, read) as reads:
        run = operator.start("import-data", "--from", source[1])
        pauses = "application_name = 'psql' AND wait_event = 'PgSleep'"
        database.wait_for_session(pauses, "it pauses", run)
        reads.three_more()
    well(ended(run))
    assert not reads.errors


def test_a_row_committed_while_the_import_waits_is_seen_under_repeatable_read(operator, source):
    database = operator.database
    isolation = "SET default_transaction_isolation = 'repeatable read'"
    database.superuser(f"ALTER DATABASE {database.name} {isolation}")
    with database.connect() as writer, writer.transaction():
        writer.execute("INSERT INTO amenities (id, category) VALUES ('late', 'area')")
        run = operator.start("import-data", "--from", source[1])
        waits = "application_name = 'psql' AND wait_event IN ('relation', 'PgSleep')"
        database.wait_for_session(waits, "the import waits", run)
    refused(ended(run), "amenities is not empty. Nothing was imported")
    assert rows(database)["amenities"][0] == 1


def test_an_incomplete_export_imports_nothing(operator, source):
    path = Path(shutil.copytree(source[1], operator.checkout / "backups" / "cut"))
    before = operator.database.dump()
    manifest = json.loads((path / "export.json").read_text())
    manifest["row_counts"]["properties"] = 501
    (path / "export.json").write_text(json.dumps(manifest))
    done = operator.run("import-data", "--from", str(path))
    refused(done, "only 500 of 501 rows of properties came. Nothing was imported")
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
    well(operator.run("import-data", "--from", export), "250 properties came without an author")
    assert operator.database.execute(AUTHORS) == without
    assert operator.database.validation("validate").returncode == 0  # the foreign keys too


def test_ids_above_their_sequence_come_back_and_the_next_is_free(full):
    """Seed files write ids by hand."""
    database = full.database
    database.execute("UPDATE policy_translations SET id = 70000 WHERE policy_id = 'pets_allowed'")
    database.execute("UPDATE amenity_translations SET id = -id")  # six were drawn, none is left
    before = rows(database)
    well(full.run("export-data"))
    empty(database)
    well(full.run("import-data"))
    assert rows(database) == before
    new = "INSERT INTO {0}_translations ({0}_id, locale, name)"
    new += " SELECT {0}_id, 'fr', '' FROM {0}_translations LIMIT 1 RETURNING id"
    assert database.value(new.format("policy")) == 70001
    assert database.value(new.format("amenity")) == 7


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


def test_what_is_set_on_the_tables_stays_and_no_trigger_changes_a_row(operator, source):
    there, export = source
    database = operator.database
    with database.connect("postgres") as superuser:
        for statement in BELONGINGS:
            superuser.execute(statement.format(name=f"fast_{database.name}"))
    try:
        before = database.dump("--schema-only")
        for part in ("default_tablespace = fast_", "USING INDEX by_field", "CLUSTER ON", "'70'",
                     "STATISTICS 1000", "on the fast disk", "RULE lost", "ALWAYS TRIGGER always",
                     "REPLICA TRIGGER replica", "DISABLE TRIGGER disabled"):  # fmt: skip
            assert part in before
        well(operator.run("import-data", "--from", export))
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
    assert not database.value("SELECT has_database_privilege(current_database(), 'TEMP')")
    before = database.dump()
    done = operator.run("import-data", "--from", export)
    refused(done, "an import looks for users, whom bestays may not see. GRANT ")
    assert database.dump() == before
    database.superuser(re.search("GRANT .*;", done.stderr)[0])
    well(operator.run("import-data", "--from", export))
    assert rows(database) == rows(there)


def test_forced_row_security_is_refused_out_and_in(operator, source):
    database = operator.database
    database.execute("ALTER TABLE amenities ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    database.superuser("INSERT INTO amenities (id, category) VALUES ('x', 'area')")
    before = database.dump()
    refused(operator.run("export-data"), "Not exported", "may not read all rows of amenities")
    done = operator.run("import-data", "--from", source[1])
    refused(done, "Import failed: query would be affected by row-level security", "amenities")
    assert not operator.backups() and database.dump() == before


def test_who_gives_up_says_who_holds_the_tables(operator, source):
    """An import; the way back and the end of kept tables take the same tries."""
    file = operator.checkout / "operations" / "tries.sql"
    text = file.read_text()
    assert text.count("1..80 LOOP") == 1
    file.write_text(text.replace("1..80", "1..2"))  # tries instead of a minute of them
    try:
        with operator.database.holding("SELECT FROM amenities") as pid:
            done = operator.run("import-data", "--from", source[1])
        refused(done, f"no lock on the tables within a minute; in the way: pid {pid} (bestays, ")
    finally:
        file.write_text(text)


@pytest.mark.parametrize(
    "lock", ["LOCK TABLE properties", "ALTER SEQUENCE property_translations_id_seq RENAME TO x"]
)
def test_a_dump_behind_an_exclusive_lock_ends_and_says_who_has_it(full, lock):
    """And nobody else, as a reader of users is in nobody's way."""
    database = full.database
    database.environment = {"PGAPPNAME": "deployment"}  # which pg_dump must not be called
    with database.holding(lock) as pid, database.holding("SELECT FROM users"):
        for process in [full.start(verb) for verb in ("backup-db", "export-data")]:
            done = ended(process)
            refused(done, f". In the way: pid {pid} (bestays, nightly report, open for ")
            assert done.stderr.count("pid") == 1
    assert not list((full.checkout / "backups").glob("*"))


@pytest.mark.parametrize("kind", ["file", "folder of another"])
@pytest.mark.parametrize("verb", ["backup-db", "export-data"])
def test_a_folder_for_backups_that_is_not_ours_is_one_sentence(full, verb, kind):
    backups = full.checkout / "backups"
    if kind == "file":
        backups.write_text("")
    else:
        backups.symlink_to("/proc/self")  # whose rights not even root may change
    try:
        refused(full.run(verb), f"{backups} cannot be used", "give it to you")
    finally:
        backups.unlink()


def test_a_percent_sign_in_yoyo_ini_is_one_sentence(operator, tmp_path):
    (tmp_path / "yoyo.ini").write_text("[DEFAULT]\ndatabase = postgresql://a:%40@/b\n")
    for command in (("operations", "backup-db"), ("validation", "state")):
        path = str(operator.checkout)
        done = operator.database.run("python", "-m", *command, cwd=tmp_path, PYTHONPATH=path)
        refused(done, f"Cannot read {tmp_path}/yoyo.ini", "a % is written %%")


@pytest.mark.parametrize(
    ("verb", "program", "hold"),
    [
        ("backup-db", "pg_dump", "LOCK TABLE users"),
        ("import-data", "psql", "SELECT FROM users FOR UPDATE"),
    ],
)
def test_a_lost_connection_says_what_postgresql_said(operator, full, source, verb, program, hold):
    operator, options = (operator, ("--from", source[1])) if program == "psql" else (full, ())
    database = operator.database
    before = database.dump()
    with database.holding(hold, "postgres") as pid:
        run = operator.start(verb, *options)
        database.wait_for_session(behind(pid), f"{program} waits", run)
        database.superuser(  # both at once, as the end of one is the end of the other
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname ="
            f" current_database() AND application_name IN ('{program}', 'python -m operations')"
        )
        refused(ended(run), "terminating connection due to administrator command", " failed: ")
    assert database.dump() == before
    assert not list((operator.checkout / "backups").glob("*"))
