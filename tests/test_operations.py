"""The operator's runs, by make and by `python -m operations`, on two servers as two environments.

They run in a copy of the checkout, whose backups/ is its own, without PostgreSQL on the PATH.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .conftest import PROJECT, Database, behind, clone, ended, fill, refused, rows, wait_for, well
from .conftest import newest as server  # noqa: F401

# Of this run alone: another beside it may show its own.
SECRET = f"not-to-be-seen-in-any-command-line-{os.getpid()}"
ENVIRONMENTS = ("staging", "production")
ALLOWED = "-c property_v2.allow_data_loss=on"


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
        self.path = f"{checkout / 'bin'}:{PROJECT / '.venv/bin'}"

    def make(self, *arguments: str):
        there = {"cwd": self.checkout, "PATH": self.path, **self.environment}
        return self.database.run("make", *arguments, **there)

    def start_make(self, *arguments: str):
        there = {"cwd": self.checkout, "PATH": self.path, **self.environment}
        return self.database.start("make", *arguments, **there)

    def run(self, *arguments: str, **environment: str):
        return self.database.run(
            "python", "-m", "operations", *arguments, "-d", "postgresql://",
            cwd=self.checkout, PGSERVICE=self.name, **self.environment, **environment,
        )  # fmt: skip

    def start(self, *arguments: str):
        """By the URL of the database, where run() goes by its service."""
        command = self.database.our_command("operations", *arguments)
        return self.database.start(*command, cwd=self.checkout)

    def backups(self, pattern: str = "*") -> list[Path]:
        return sorted((self.checkout / "backups").glob(f"{self.name}-{pattern}"))


@pytest.fixture
def operator(checkout, migrated) -> Operator:
    shutil.rmtree(checkout / "backups", ignore_errors=True)
    return Operator(checkout, migrated)


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


def test_migrate_stops_at_the_first_that_fails(checkout, unmigrated):
    operator = Operator(checkout, unmigrated)
    backups = operator.backups()
    unmigrated.execute("CREATE TABLE policies (id integer)")
    before = unmigrated.dump()
    done = operator.run("migrate")
    assert done.returncode == 1
    assert "table policies of bestays is in the way" in done.stdout
    assert "Where things stand\n  fail  0001_property_v2      partly there" in done.stdout
    assert "Backup" not in done.stdout and operator.backups() == backups
    assert unmigrated.dump() == before


def test_a_small_idle_session_timeout_breaks_nothing(operator):
    database = operator.database
    fill(database)
    for limit in ("idle_session_timeout", "idle_in_transaction_session_timeout"):
        database.superuser(f"ALTER DATABASE {database.name} SET {limit} = '50ms'")
    before = rows(database)
    for verb in ("export-data", "rollback", "drop-kept --yes", "migrate", "import-data", "rollback",
                 "migrate", "restore-kept"):  # fmt: skip
        well(operator.run(*verb.split()))
    assert rows(database) == before
    with database.holding("SET idle_in_transaction_session_timeout = 0; SELECT FROM properties"):
        run = operator.start("rollback")
        idle = "application_name = 'yoyo' AND state_change < clock_timestamp() - interval '100 ms'"
        database.wait_for_session(idle, "yoyo's session idles longer, and is there", run)
    well(ended(run))


def test_ways_out_stand_on_lines_of_their_own_and_name_the_service(operator):
    operator.database.execute("DELETE FROM _yoyo_migration")
    done = operator.run("migrate")
    assert done.returncode == 1
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert "make validate-test" in lines
    assert "yoyo mark -m 0001_property_v2 -d 'postgresql://?service=bestays_test'" in lines


def test_a_service_that_is_missing_is_one_sentence(operator):
    for verb in ("check", "state", "dry-run", "validate", "migrate", "rollback", "import-data"):
        done = operator.make(f"{verb}-nowhere")
        assert done.returncode == 2
        said, by_make = done.stderr.splitlines()
        assert said.startswith('Cannot connect (definition of service "bestays_nowhere" not found')
        assert "~/.pg_service.conf" in said and by_make.startswith("make")


def test_of_two_runs_of_sample_data_the_second_is_refused(operator):
    database = operator.database
    database.superuser(f"ALTER DATABASE {database.name} SET property_v2.allow_data_loss = on")
    with database.holding("LOCK TABLE properties") as pid:
        first = operator.start("sample-data", "20")
        database.wait_for_session(behind(pid), "the first waits for the tables", first)
        refused(operator.run("sample-data", "30"), "another run of sample-data is at work here")
    well(ended(first), "20 properties")
    assert database.value("SELECT count(*) FROM properties") == 20


def test_progress_is_in_percent_of_the_rows_known_beforehand(operator):
    """As the terminal shows it, seen from the session that knows, while rows come."""
    database = operator.database
    progress = (PROJECT / "operations" / "progress.sql").read_text()
    with database.connect() as copying, database.connect() as seeing:
        seeing.execute("""SET property_v2.row_counts = '{"amenities": 20000}'""")

        def shown() -> str:
            cursor = seeing.execute(progress)
            cursor.nextset()
            return " ".join(line for (line,) in cursor)

        with copying.cursor().copy("COPY amenities (id, category) FROM STDIN") as copy:
            for n in range(5000):  # more than fits into the buffers of the line
                copy.write_row((f"{n:0100}", "area"))
            line = wait_for(lambda: re.match(r"amenities, ([\d,]+) of (.*)", shown()), "progress")
    percent = 100 * int(line[1].replace(",", "")) // 20000
    assert line[2] == f"20,000 rows, {percent}%"
