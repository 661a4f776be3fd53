"""The operator's runs, by make and by `python -m operations`, on two servers as two environments.

They run in a copy of the checkout, whose backups/ is its own, without PostgreSQL on the PATH.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .conftest import PROJECT, TABLES, Database, clone
from .conftest import newest as server  # noqa: F401

SECRET = "not-to-be-seen-in-any-command-line"
TOOLS = ("make", "sh", "sed", "awk", "uname", "dirname", "basename")
ENVIRONMENTS = ("staging", "production")
EVERY_ROW = "SELECT md5(string_agg(t::text, E'\\n' ORDER BY t.id::text COLLATE \"C\")) FROM {} AS t"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A copy of the project with the installed environment, and a folder `bin` for the PATH."""
    folder = tmp_path_factory.mktemp("a checkout") / "project"
    kept_out = shutil.ignore_patterns(".git", ".venv", "data", "backups", "__pycache__")
    shutil.copytree(PROJECT, folder, ignore=kept_out)
    (folder / ".venv").symlink_to(PROJECT / ".venv")
    (folder / "bin").mkdir()
    for tool in TOOLS:
        (folder / "bin" / tool).symlink_to(shutil.which(tool))
    return folder


class Operator:
    """Runs make targets and `python -m operations` in the copy."""

    def __init__(self, checkout: Path, database: Database, environment: str = "test") -> None:
        self.checkout, self.database, self.name = checkout, database, f"bestays_{environment}"
        services = checkout / f"{database.name}.services"
        services.write_text(
            f"[{self.name}]\nhost={database.host}\nuser=bestays\ndbname={database.name}\n"
            f"password={SECRET}\n"
        )
        self.environment = {"PGSERVICEFILE": str(services)}

    def make(self, *arguments: str):
        path = f"{self.checkout / 'bin'}:{PROJECT / '.venv/bin'}"
        return self.database.run(
            "make", *arguments, cwd=self.checkout, PATH=path, **self.environment
        )

    def run(self, *arguments: str, **environment: str):
        return self.database.run(
            "python", "-m", "operations", *arguments, "-d", "postgresql://",
            cwd=self.checkout, PGSERVICE=self.name, **self.environment, **environment,
        )  # fmt: skip

    def backups(self, pattern: str = "*") -> list[Path]:
        return sorted((self.checkout / "backups").glob(f"{self.name}-{pattern}"))


@pytest.fixture
def operator(checkout, migrated) -> Iterator[Operator]:
    yield Operator(checkout, migrated)
    shutil.rmtree(checkout / "backups", ignore_errors=True)


def fill(database: Database) -> None:
    done = database.psql("-q", "-1", "-v", "ON_ERROR_STOP=1", "-f", "tests/nasty_rows.sql")
    assert done.returncode == 0, done.stderr


def rows(database: Database) -> dict[str, tuple[int, str]]:
    """Of every table, how many rows it holds and a checksum over all of their columns."""
    checksum = EVERY_ROW.replace("md5", "count(*), md5")
    return {table: database.execute(checksum.format(table))[0] for table in TABLES}


def well(done, *expected: str) -> None:
    assert done.returncode == 0, done.stdout + done.stderr
    for text in expected:
        assert text in done.stdout


@contextmanager
def command_lines_watched() -> Iterator[set[str]]:
    """Collects the command lines of all processes, as ps would show them."""
    seen, stop = set(), threading.Event()

    def watch() -> None:
        while not stop.wait(0.002):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.add(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
                except OSError:
                    pass  # it has ended

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("place", range(2), ids=ENVIRONMENTS)
def test_out_and_back_every_row_is_the_same(checkout, servers, place):
    environment = ENVIRONMENTS[place]
    with clone(servers[place], "unmigrated") as database, command_lines_watched() as seen:
        operator = Operator(checkout, database, environment)
        well(operator.make(f"migrate-{environment}"), "checks passed.")
        fill(database)
        before = rows(database)
        sequences = "SELECT sequencename, last_value FROM pg_sequences ORDER BY 1"
        last_values = database.execute(sequences)
        assert all(count for count, _ in before.values())

        done = operator.make(f"rollback-{environment}")
        (export,) = operator.backups("*.data")
        back = f"make migrate-{environment} && make import-data-{environment} EXPORT=backups/"
        well(done, "500 properties", "nothing of it is left", back + export.name)
        assert not database.tables()

        well(operator.make(f"migrate-{environment}"))
        well(operator.make(f"import-data-{environment}"), export.name, "3,000 property_translation")
        well(operator.make(f"validate-{environment}"), "checks passed.")
        assert rows(database) == before
        assert database.execute(sequences) == last_values
        fresh = database.value(
            "INSERT INTO policy_translations (policy_id, locale, name)"
            " VALUES ('pets_allowed', 'en', 'Pets') RETURNING id"
        )
        assert fresh == 1 + dict(last_values)["policy_translations_id_seq"]

        well(operator.make(f"backup-db-{environment}"), ".dump", " kB in ")
        for folder, _, names in os.walk(checkout / "backups"):
            assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
            assert all(stat.S_IMODE(os.stat(Path(folder, n)).st_mode) == 0o600 for n in names)
        assert not operator.backups("*.partial")
    assert any("pg_dump" in line for line in seen) and any("psql" in line for line in seen)
    assert not [line for line in seen if SECRET in line]


def test_a_second_migrate_says_that_nothing_is_left(operator):
    well(operator.run("migrate"), "Nothing is left to apply.", "checks passed.")
    assert not operator.backups()


def test_a_full_backup_restores(operator, server):
    fill(operator.database)
    before = rows(operator.database)
    well(operator.run("backup-db"))
    (backup,) = operator.backups("*.dump")
    with clone(server, "template0") as restored:
        restored.superuser("CREATE EXTENSION vector")
        done = restored.run(
            server.program("pg_restore"), "-h", restored.host, "-U", "postgres", "-d",
            restored.name, "--no-comments", str(backup),
        )  # fmt: skip
        assert "errors ignored on restore: 1" in done.stderr or not done.returncode
        assert rows(restored) == before


def test_rollback_of_empty_tables_exports_nothing(operator):
    well(operator.run("rollback"), "the tables are empty", "nothing of it is left")
    assert not operator.database.tables() and not operator.backups()
    well(operator.run("rollback"), "Nothing to roll back.")
    well(operator.run("export-data"), "the tables are not there")


@pytest.mark.parametrize(
    "change",
    [
        "INSERT INTO policies (id, category, data_type) VALUES ('new', 'payment', 'text')",
        "UPDATE properties SET is_featured = true WHERE title LIKE '% 7 %'",
        "DELETE FROM policy_translations",
    ],
    ids=lambda change: change.split()[0].lower(),
)
def test_rows_written_since_the_export_are_not_lost(operator, change):
    """What `python -m operations rollback` tells the migration, with a write in between."""
    database = operator.database
    fill(database)
    exported = database.run(
        "python", "-c",
        "from operations.__main__ import export_data\nfrom operations.target import Target\n"
        "print(export_data(Target('postgresql://'), None))",
        cwd=operator.checkout, PGSERVICE=operator.name, **operator.environment,
    ).stdout.splitlines()[-1]  # fmt: skip
    guard = {"PGOPTIONS": f"-c property_v2.exported={exported}"}
    database.execute(change)
    before = database.dump()
    done = database.yoyo("rollback", **guard)
    assert done.returncode != 0
    assert "would delete rows, some of them written since the export: " in done.stderr
    assert database.dump() == before


def test_import_fills_only_empty_tables(operator):
    fill(operator.database)
    well(operator.run("export-data"))
    before = operator.database.dump()
    done = operator.run("import-data")
    assert done.returncode == 2
    assert "the tables are not empty: 3 amenities, 5 amenity_translations" in done.stderr
    assert ". An import only fills empty tables" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert operator.database.dump() == before


def test_import_without_the_tables_says_what_to_do(operator):
    fill(operator.database)
    well(operator.run("rollback"))
    done = operator.run("import-data")
    assert done.returncode == 2
    assert "the tables are not there. Apply the migration first" in done.stderr
    assert not operator.database.tables()


def empty(database: Database) -> str:
    database.execute(f"TRUNCATE {', '.join(TABLES)} RESTART IDENTITY")
    return database.dump()


def test_rows_whose_user_is_gone_come_back_without_author(operator):
    database = operator.database
    fill(database)
    as_deleted = [
        (title, created_by if created_by != 2 else None, updated_by if updated_by != 2 else None)
        for title, created_by, updated_by in database.execute(
            "SELECT title, created_by, updated_by FROM properties ORDER BY title"
        )
    ]
    times = "SELECT title, created_at, updated_at FROM properties ORDER BY title"
    before = database.execute(times)
    well(operator.run("export-data"))
    empty(database)
    database.execute("DELETE FROM users WHERE id = 2")
    well(operator.run("import-data"), "250 properties came without an author")
    assert as_deleted == database.execute(
        "SELECT title, created_by, updated_by FROM properties ORDER BY title"
    )
    assert database.execute(times) == before
    assert database.validation("post-migration").returncode == 0  # the foreign keys as before


def test_an_incomplete_export_imports_nothing(operator):
    fill(operator.database)
    well(operator.run("export-data"))
    (export,) = operator.backups("*.data")
    before = empty(operator.database)

    counts = json.loads((export / "row_counts.json").read_text())
    (export / "row_counts.json").write_text(json.dumps({**counts, "properties": 501}))
    done = operator.run("import-data")
    assert done.returncode == 2
    assert "only 500 of 501 rows of properties came" in done.stderr
    assert operator.database.dump() == before

    largest = max(export.glob("*.dat.gz"), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:1000])
    done = operator.run("import-data")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert operator.database.dump() == before


def test_no_export_is_one_sentence(operator):
    done = operator.run("import-data")
    assert done.returncode == 2
    assert done.stderr == (
        "There is no export of bestays_test in backups/: name one with --from"
        " (EXPORT=... with make).\n"
    )
    done = operator.run("import-data", "--from", "nowhere")
    assert "There is no export nowhere: name one" in done.stderr


def test_migrate_stops_at_the_first_that_fails(checkout, unmigrated):
    operator = Operator(checkout, unmigrated)
    unmigrated.execute("CREATE TABLE policies (id integer)")
    before = unmigrated.dump()
    done = operator.run("migrate")
    assert done.returncode == 1
    assert "table policies of bestays is in the way" in done.stdout
    assert "Where things stand\n  fail  0001_property_v2      partly there" in done.stdout
    assert "Backup" not in done.stdout and not operator.backups()
    assert unmigrated.dump() == before


def test_an_older_program_on_the_path_is_passed_over(operator):
    old = operator.checkout / "old"
    old.mkdir(exist_ok=True)
    for name in ("pg_dump", "pg_restore"):
        (old / name).write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) 15.18'; exit 1\n")
        (old / name).chmod(0o755)
    well(operator.run("backup-db", PATH=f"{old}:{PROJECT / '.venv/bin'}"), "kB in")


def test_a_small_idle_session_timeout_breaks_nothing(operator):
    database = operator.database
    fill(database)
    for limit in ("idle_session_timeout", "idle_in_transaction_session_timeout"):
        database.superuser(f"ALTER DATABASE {database.name} SET {limit} = '50ms'")
    before = rows(database)
    well(operator.run("rollback"))
    well(operator.run("migrate"))
    well(operator.run("import-data"))
    assert rows(database) == before


def test_state_names_the_way_out_on_that_service(operator):
    operator.database.execute("DELETE FROM _yoyo_migration")
    done = operator.run("migrate")
    assert done.returncode == 1
    assert "PGSERVICE=bestays_test yoyo mark -m 0001_property_v2 -d postgresql://" in done.stdout


def test_a_service_that_is_missing_is_one_sentence(operator):
    for verb in ("check", "state", "dry-run", "validate", "migrate", "rollback", "import-data"):
        done = operator.make(f"{verb}-nowhere")
        assert done.returncode == 2
        said, by_make = done.stderr.splitlines()
        assert said.startswith('Cannot connect (definition of service "bestays_nowhere" not found')
        assert "~/.pg_service.conf" in said and by_make.startswith("make")
