"""Times of the commands, beside those of the bare programs that do the same."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NoReturn

from local_postgres.server import Server
from tests.conftest import MIGRATIONS, PROJECT, TABLES, Database, clone

APPLY = MIGRATIONS / "0001_property_v2.sql"
ROLLBACK = MIGRATIONS / "0001_property_v2.rollback.sql"
# Each measured command, and the bare program that does the same; None: no program does.
BARE = {
    "export-data": "pg_dump", "import-data": "pg_restore",
    "rollback": None, "yoyo apply": None, "restore_kept.sql": None,
}  # fmt: skip

started = time.monotonic()


def say(text: str) -> None:
    print(f"[{time.monotonic() - started:5.0f} s] {text}", flush=True)


def fail(text: str) -> NoReturn:
    print(text, file=sys.stderr)
    raise SystemExit(2)


def timed(action: Callable[[], subprocess.CompletedProcess]) -> float:
    """Seconds that a command took.

    Raises:
        SystemExit: it failed; its message is printed.
    """
    began = time.monotonic()
    done = action()
    seconds = time.monotonic() - began
    if done.returncode:
        fail(f"{done.args} failed: {done.stdout}{done.stderr}")
    return seconds


def apply_times(server: Server, rounds: int = 7) -> dict[str, float]:
    """Median seconds of yoyo and of psql -1 for both files, run in turns."""
    times: dict[str, list[float]] = {}
    for _ in range(rounds):
        with clone(server, "unmigrated") as by_yoyo, clone(server, "unmigrated") as by_psql:
            for command, file in (("apply", APPLY), ("rollback", ROLLBACK)):
                psql = ("-1", "-v", "ON_ERROR_STOP=1", "-f", str(file))
                loss = {"PGOPTIONS": "-c property_v2.allow_data_loss=on"}
                times.setdefault(f"yoyo {command}", []).append(
                    timed(lambda: by_yoyo.yoyo(command, **loss))
                )
                times.setdefault(f"psql {command}", []).append(
                    timed(lambda: by_psql.psql(*psql, **loss))
                )
    return {name: median(values) for name, values in times.items()}


def query_times(database: Database) -> dict[str, dict]:
    """What `python -m validation queries` says about each reference query, by its name."""
    done = database.validation("queries", "--format", "json")
    if not done.stdout:
        fail(f"The queries could not be measured: {done.stderr}")
    return {row["check"]: row for row in json.loads(done.stdout)["results"]}


def sizes_by_name(database: Database) -> dict[str, dict]:
    """What `python -m validation monitor` says about the size of each table and index."""
    found = json.loads(database.validation("monitor", "--format", "json").stdout)
    return {row["table_name"]: row for row in found["table_sizes"]} | {
        row["index_name"]: row for row in found["index_use"]
    }


def transfer_times(database: Database, folder: Path, rounds: int) -> dict[str, float]:
    """Median seconds of the commands and the programs in BARE, run in turns, with all rows."""
    name, dump = database.name, folder / "dump"
    at = ("-h", database.host, "-U", database.user, "-d", name)
    tables = [part for table in TABLES for part in ("-t", f"public.{table}")]
    pg_dump, pg_restore = (database.server.program(p) for p in ("pg_dump", "pg_restore"))
    ours = (sys.executable, "-m", "operations")
    exports = PROJECT / "backups"
    times: dict[str, list[float]] = {}

    def measure(what: str, *command: str) -> None:
        database.superuser("CHECKPOINT")
        times.setdefault(what, []).append(timed(lambda: database.run(*command)))
        say(f"{what}: {times[what][-1]:.1f} s")

    for _ in range(rounds):
        measure("pg_dump", pg_dump, *at, "-Fd", "-j2", "-f", str(dump), *tables)
        try:
            measure("export-data", *ours, "export-data", "-d", database.url)
            [export] = exports.glob(f"{name}-*.data")
            database.execute(f"TRUNCATE {', '.join(TABLES)}")
            measure("import-data", *ours, "import-data", "-d", database.url, "--from", str(export))
            measure("rollback", *ours, "rollback", "-d", database.url)
            measure("yoyo apply", "yoyo", "apply", "--batch", "-d", database.url)
            operations = PROJECT / "operations"
            measure(
                "restore_kept.sql", database.server.program("psql"), "-X", *at, "-1",
                "-v", "ON_ERROR_STOP=1", "-f", str(operations / "restore_kept.sql"),
            )  # fmt: skip
        finally:
            for left in exports.glob(f"{name}-*.data*"):
                shutil.rmtree(left)
        database.execute(f"DROP TABLE {', '.join(TABLES)}")
        measure("pg_restore", pg_restore, *at, "-j2", str(dump))
        shutil.rmtree(dump)
    return {what: median(values) for what, values in times.items()}
