"""The operator's runs, by make and by `python -m operations`, on two servers as two environments.

They run in a copy of the checkout, whose backups/ is its own, without PostgreSQL on the PATH.
"""

from __future__ import annotations

import contextlib
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

    def start_make(self, *arguments: str):
        path = f"{self.checkout / 'bin'}:{PROJECT / '.venv/bin'}"
        return self.database.start(
            "make", "-C", str(self.checkout), *arguments, PATH=path, **self.environment
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


def rows(database: Database, schema: str = "public") -> dict[str, tuple[int, str]]:
    """Of every table, how many rows it holds and a checksum over all of their columns."""
    checksum = EVERY_ROW.replace("md5", "count(*), md5")
    return {t: database.execute(checksum.format(f"{schema}.{t}"))[0] for t in TABLES}


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
                with contextlib.suppress(OSError):  # it has ended
                    seen.add(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))

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

        well(operator.make(f"export-data-{environment}"), "500 properties")
        (export,) = operator.backups("*.data")
        well(operator.make(f"rollback-{environment}"), "500 properties")
        well(operator.make(f"drop-kept-{environment}", "YES=1"), "500 properties")
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
            assert stat.S_IMODE(Path(folder).stat().st_mode) == 0o700
            assert all(stat.S_IMODE(Path(folder, n).stat().st_mode) == 0o600 for n in names)
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
    well(operator.run("export-data"))
    well(operator.run("rollback"))
    well(operator.run("drop-kept", "--yes"))
    well(operator.run("migrate"))
    well(operator.run("import-data"))
    well(operator.run("rollback"))
    well(operator.run("migrate"))
    well(operator.run("restore-kept"))
    assert rows(database) == before


def test_state_names_the_way_out_on_that_service(operator):
    operator.database.execute("DELETE FROM _yoyo_migration")
    done = operator.run("migrate")
    assert done.returncode == 1
    mark = "yoyo mark -m 0001_property_v2 -d 'postgresql://?service=bestays_test'"
    assert f"make validate-test; when that passes: {mark}" in done.stdout


def test_a_service_that_is_missing_is_one_sentence(operator):
    for verb in ("check", "state", "dry-run", "validate", "migrate", "rollback", "import-data"):
        done = operator.make(f"{verb}-nowhere")
        assert done.returncode == 2
        said, by_make = done.stderr.splitlines()
        assert said.startswith('Cannot connect (definition of service "bestays_nowhere" not found')
        assert "~/.pg_service.conf" in said and by_make.startswith("make")
