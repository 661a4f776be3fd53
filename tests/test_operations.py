"""The operator's runs, by make and by `python -m operations`, on two servers as two environments.

They run in a copy of the checkout, whose backups/ is its own, without PostgreSQL on the PATH.
"""

import contextlib
import os
import re
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .conftest import SECRET, Database, behind, clone, ended, fill, refused, rows, wait_for, well
from .conftest import newest as server  # noqa: F401


@pytest.fixture
def operator(in_checkout, migrated) -> Database:
    return migrated.by_service()


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


@pytest.mark.parametrize(("place", "environment"), [(0, "staging"), (1, "production")])
def test_out_and_back_every_row_is_the_same(in_checkout, servers, place, environment):
    with clone(servers[place], "unmigrated") as database, command_lines_watched() as seen:
        operator = database.by_service(f"bestays_{environment}")

        def make(verb: str, *options: str, says: str = "") -> str:
            done = operator.make(f"{verb}-{environment}", *options)
            well(done, says)
            return done.stdout

        make("migrate", says="checks passed.")
        fill(operator)
        before = rows(operator)
        sequences = "SELECT sequencename, last_value FROM pg_sequences ORDER BY 1"
        last_values = operator.execute(sequences)
        assert all(count for count, _ in before.values())

        make("export-data", says="500 properties")
        (export,) = operator.backups(f"bestays_{environment}-*.data")
        make("rollback", says="500 properties")
        make("drop-kept", "YES=1", says="500 properties")
        assert not operator.tables()

        make("migrate")
        assert "3,000 property_translation" in make("import-data", says=export.name)
        make("validate", says="checks passed.")
        assert rows(operator) == before
        assert operator.execute(sequences) == last_values
        fresh = operator.value(
            "INSERT INTO policy_translations (policy_id, locale, name)"
            " VALUES ('pets_allowed', 'en', 'Pets') RETURNING id"
        )
        assert fresh == 1 + dict(last_values)["policy_translations_id_seq"]

        assert " kB in " in make("backup-db", says=".dump")
        for folder, _, names in os.walk(in_checkout / "backups"):
            assert stat.S_IMODE(Path(folder).stat().st_mode) == 0o700
            assert all(stat.S_IMODE(Path(folder, n).stat().st_mode) == 0o600 for n in names)
        assert not operator.backups("*.partial")
    assert any("pg_dump" in line for line in seen) and any("psql" in line for line in seen)
    assert not [line for line in seen if SECRET in line]


def test_migrate_says_that_nothing_is_left_or_what_is_to_be_done_first(operator):
    """By a bare URL, which leaves all to the shell; what can be pasted stands on its own lines."""
    operator.environment["PGSERVICE"], operator.url = "bestays_test", "postgresql://"
    well(operator.operations("migrate"), "Nothing is left to apply.", "checks passed.")
    operator.execute("DELETE FROM _yoyo_migration")
    done = operator.operations("migrate")
    assert done.returncode == 1
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert "make validate-test" in lines
    assert "yoyo mark -m 0001_property_v2 -d 'postgresql://?service=bestays_test'" in lines
    assert not operator.backups()


def test_migrate_stops_at_the_first_that_fails(in_checkout, unmigrated):
    unmigrated.execute("CREATE TABLE policies (id integer)")
    with unmigrated.unchanged():
        done = unmigrated.operations("migrate")
    assert done.returncode == 1
    assert "table policies of bestays is in the way" in done.stdout
    assert "Where things stand\n  fail  0001_property_v2      partly there" in done.stdout
    assert "Backup" not in done.stdout and not unmigrated.backups()


def test_a_small_idle_session_timeout_breaks_nothing(operator):
    fill(operator)
    for limit in ("idle_session_timeout", "idle_in_transaction_session_timeout"):
        operator.prefer(f"{limit} = '50ms'")
    before = rows(operator)
    for verb in ("export-data", "rollback", "drop-kept --yes", "migrate", "import-data", "rollback",
                 "migrate", "restore-kept"):  # fmt: skip
        well(operator.operations(*verb.split()))
    assert rows(operator) == before
    idle = "application_name = 'yoyo' AND state_change < clock_timestamp() - interval '100 ms'"
    with operator.holding("SELECT FROM properties"):
        rollback = operator.our_command("operations", "rollback")
        run = operator.start_until(idle, "yoyo's session idles longer, and is there", *rollback)
    well(ended(run))


def test_a_service_that_is_missing_is_one_sentence(operator):
    for verb in ("check", "state", "dry-run", "validate", "migrate", "rollback", "import-data"):
        done = operator.make(f"{verb}-nowhere")
        assert done.returncode == 2
        said, by_make = done.stderr.splitlines()
        assert said.startswith('Cannot connect (definition of service "bestays_nowhere" not found')
        assert "~/.pg_service.conf" in said and by_make.startswith("make")


def test_of_two_runs_of_sample_data_the_second_is_refused(operator):
    operator.prefer("property_v2.allow_data_loss = on")
    with operator.holding("LOCK TABLE properties") as pid:
        sample = operator.our_command("operations", "sample-data", "20")
        first = operator.start_until(behind(pid), "the first waits for the tables", *sample)
        second = operator.operations("sample-data", "30")
        refused(second, "another run of sample-data is at work here")
    well(ended(first), "20 properties")
    assert operator.value("SELECT count(*) FROM properties") == 20


def test_progress_is_in_percent_of_the_rows_known_beforehand(migrated):
    """As the terminal shows it, seen from the session that knows, while rows come."""
    progress = (migrated.cwd / "operations" / "progress.sql").read_text()
    with migrated.connect() as copying, migrated.connect() as seeing:
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
