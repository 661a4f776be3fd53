"""Measures apply, rollback, queries, export and import on a server and sample data of its own.

Prints its progress, and writes docs/benchmark.md and its picture.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from statistics import median
from typing import NoReturn

from local_postgres.server import VERSIONS, Server

from validation.database import Unusable

from .conftest import MIGRATIONS, PROJECT, TABLES, Database, clone
from .traffic import READ_USERS

PAGE = PROJECT / "docs" / "benchmark.md"
PICTURE = PAGE.with_suffix(".svg")
SIZES = (10_000, 100_000, 1_000_000)
HOLDS = (1, 5, 20)  # seconds that the blocking transaction stays open
ARRIVALS = 0.1  # seconds from one request of the other sessions to the next
APPLY = MIGRATIONS / "0001_property_v2.sql"
ROLLBACK = MIGRATIONS / "0001_property_v2.rollback.sql"
# For each way: the template, the file, what blocks it, what the others do, its DDL on users.
WAYS = {
    "apply": (
        "unmigrated", APPLY, "UPDATE users SET full_name = 'A' WHERE id = 1",
        "UPDATE users SET full_name = 'B' WHERE id = {}",  # a row each: none waits for another
        r"ALTER TABLE properties\s+ADD CONSTRAINT properties_created_by_fkey[^;]*;",
    ),
    "rollback": ("migrated", ROLLBACK, READ_USERS, READ_USERS, r"DROP TABLE IF EXISTS[^;]*;"),
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


# Apply and rollback -------------------------------------------------------------------------------


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


# Waits of other sessions --------------------------------------------------------------------------


class Requests:
    """A request every ARRIVALS seconds, each in a session of its own, as a web server has them.

    Attributes:
        waits: per request the second at which it came, and how many it took.
        errors: what went wrong in them; empty when all is well.
    """

    def __init__(self, database: Database, statement: str) -> None:
        self.database, self.statement = database, statement
        self.waits: list[tuple[float, float]] = []
        self.errors: list[Exception] = []
        self._began = time.monotonic()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._arrive)]

    def _arrive(self) -> None:
        while not self._stop.wait(ARRIVALS):
            statement = self.statement.format(1 + len(self._threads))
            self._threads.append(threading.Thread(target=self._ask, args=[statement]))
            self._threads[-1].start()

    def _ask(self, statement: str) -> None:
        try:
            with self.database.connect() as connection:
                began = time.monotonic()
                connection.execute(statement)
                self.waits.append((began - self._began, time.monotonic() - began))
        except Exception as error:
            self.errors.append(error)

    def __enter__(self) -> Requests:
        self._threads[0].start()
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self.waits.sort()


def without_patience(file: Path, ddl: str) -> str:
    """The same file with its patient block replaced by the plain statement in it."""
    sql = file.read_text(encoding="utf-8")
    [block] = re.findall(r"(?s)DO \$\$ -- [^\n]*, in short tries\n.*?\n\$\$;", sql)
    [statement] = re.findall(ddl, block)
    return sql.replace(block, f"SET LOCAL lock_timeout = 0;\n{statement}")


def measure_waits(database: Database, way: str, is_patient: bool, hold: int) -> dict:
    """Runs one file beside a transaction that stays open for some seconds, and others' requests."""
    _, file, blocking, others, ddl = WAYS[way]
    sql = file.read_text(encoding="utf-8") if is_patient else without_patience(file, ddl)
    database.execute(
        "INSERT INTO users (email) SELECT n || '@example.com' FROM generate_series(1, 1000) AS n"
    )
    with Requests(database, others) as requests, database.connect() as blocker:
        with blocker.transaction():
            blocker.execute(blocking)
            time.sleep(1)  # what the requests take when nothing is going on
            began = time.monotonic()
            migration = database.start(
                database.server.program("psql"), "-X", "-q", "-1", "-v", "ON_ERROR_STOP=1",
                "-h", database.host, "-U", "bestays", database.name, "-c", sql,
                PGOPTIONS="-c property_v2.allow_data_loss=on",
            )  # fmt: skip
            time.sleep(hold)
        _, message = migration.communicate()
        seconds = time.monotonic() - began
        if migration.returncode:
            fail(f"{way} beside {blocking} failed: {message}")
        time.sleep(1)
    if requests.errors:
        fail(f"{way}: {len(requests.errors)} requests failed: {requests.errors[0]}")
    return {
        "way": way, "is_patient": is_patient, "hold": hold, "seconds": seconds,
        "waits": [(at - 1, wait) for at, wait in requests.waits],
        "longest": max(wait for _, wait in requests.waits),
    }  # fmt: skip


def all_waits(server: Server) -> list[dict]:
    """Both ways, with patience and without, for each hold; four at a time."""
    measured = []
    for hold in HOLDS:
        say(f"waits of others beside a transaction of {hold} s")
        with ExitStack() as stack:
            pool = stack.enter_context(ThreadPoolExecutor())
            futures = [
                pool.submit(
                    measure_waits, stack.enter_context(clone(server, WAYS[way][0])), way,
                    is_patient, hold,
                )
                for way, is_patient in product(WAYS, (True, False))
            ]  # fmt: skip
            measured += [future.result() for future in futures]
    return measured


# Queries, sizes, export and import ----------------------------------------------------------------


def query_times(database: Database) -> dict[str, dict]:
    """What `python -m validation queries` says about each reference query, by its name."""
    done = database.validation("queries", "--format", "json")
    if not done.stdout:
        fail(f"The queries could not be measured: {done.stderr}")
    return {row["check"]: row for row in json.loads(done.stdout)["results"]}


def sizes_by_name(database: Database) -> dict[str, dict]:
    """What `python -m validation monitoring` says about the size of each table and index."""
    found = json.loads(database.validation("monitoring", "--format", "json").stdout)
    return {row["table_name"]: row for row in found["table_sizes"]} | {
        row["index_name"]: row for row in found["index_use"]
    }


def transfer_times(database: Database, folder: Path, rounds: int) -> dict[str, float]:
    """Median seconds of our export and import, and of bare pg_dump and pg_restore of the tables."""
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
        finally:
            for left in exports.glob(f"{name}-*.data*"):
                shutil.rmtree(left)
        database.execute(f"DROP TABLE {', '.join(TABLES)}")
        measure("pg_restore", pg_restore, *at, "-j2", str(dump))
        shutil.rmtree(dump)
    return {what: median(values) for what, values in times.items()}


# The picture --------------------------------------------------------------------------------------

STYLE = """
text { font: 13px system-ui, sans-serif; fill: #57606a }
.title { font-size: 15px; font-weight: 600 }
.axis { stroke: #8c959f; stroke-width: 1 }
.plain { stroke: #d1242f; fill: none; stroke-width: 2 }
.patient { stroke: #0f7bc4; fill: none; stroke-width: 3 }
text.plain { fill: #d1242f; stroke: none }
text.patient { fill: #0f7bc4; stroke: none; font-weight: 600 }
@media (prefers-color-scheme: dark) {
  text { fill: #b1bac4 }
  .plain { stroke: #ff7b72 } text.plain { fill: #ff7b72 }
  .patient { stroke: #58a6ff } text.patient { fill: #58a6ff }
}
"""


def picture(measured: list[dict]) -> str:
    """An SVG: for each way, the wait of each request over the time at which it came."""
    width, height, left, top = 390, 260, 60, 70
    end, highest = max(HOLDS) + 2, max(HOLDS)
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {2 * (width + left) + 20}"
        f" {height + top + 60}' role='img'>",
        "<title>Waits of other sessions while a transaction blocks the migration</title>",
        f"<style>{STYLE}</style>",
    ]
    for panel, (way, who) in enumerate(
        {"apply": "a session that writes users", "rollback": "a session that reads users"}.items()
    ):
        x0, y0 = left + panel * (width + left), top + height

        def at(seconds: float, wait: float, x0: float = x0, y0: float = y0) -> str:
            return f"{x0 + width * seconds / end:.1f},{y0 - height * wait / highest:.1f}"

        parts.append(f"<text class='title' x='{x0}' y='24'>{way}: wait of {who}</text>")
        parts.append(
            f"<text x='{x0}' y='44'>beside a transaction of {', '.join(map(str, HOLDS[:-1]))}"
            f" and {HOLDS[-1]} s</text>"
        )
        parts.append(f"<path class='axis' fill='none' d='M{x0},{top}V{y0}H{x0 + width}'/>")
        for tick in range(0, highest + 1, 5):
            (x, y), (_, level) = at(tick, 0).split(","), at(0, tick).split(",")
            parts.append(f"<path class='axis' d='M{x},{y}v5M{x0},{level}h-5'/>")
            parts.append(f"<text x='{x}' y='{y0 + 20}' text-anchor='middle'>{tick}</text>")
            parts.append(
                f"<text x='{x0 - 9}' y='{float(level) + 4:.1f}' text-anchor='end'>{tick}</text>"
            )
        parts.append(
            f"<text x='{x0 + width / 2}' y='{y0 + 40}' text-anchor='middle'>"
            "seconds since the migration began</text>"
        )
        parts.append(
            f"<text transform='translate({x0 - 36},{top + height / 2}) rotate(-90)'"
            " text-anchor='middle'>seconds waited</text>"
        )
        own = sorted(
            (m for m in measured if m["way"] == way), key=lambda m: m["is_patient"]
        )  # this migration's line last, on top
        for m in own:
            points = " ".join(at(*point) for point in m["waits"] if 0 <= point[0] <= end)
            css = "patient" if m["is_patient"] else "plain"
            parts.append(f"<polyline class='{css}' points='{points}'/>")
        longest = max(m["longest"] for m in own if m["is_patient"])
        x, y = at(end * 0.36, highest * 0.72).split(",")
        parts.append(f"<text class='plain' x='{x}' y='{y}'>plain DDL: until the other ends</text>")
        x, y = at(end * 0.28, highest * 0.04).split(",")
        parts.append(
            f"<text class='patient' x='{x}' y='{y}'>this migration: at most {longest:.2f} s</text>"
        )
    return "\n".join([*parts, "</svg>", ""])


# The page -----------------------------------------------------------------------------------------


def table(head: list[str], rows: list[list]) -> str:
    """A Markdown table; all columns but the first are numbers, aligned to the right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in [head, rule, *rows])


def paragraph(text: str) -> str:
    """A paragraph or item of a list in lines of at most 100 characters."""
    indent = "  " if text.startswith("- ") else ""
    return textwrap.fill(text, 100, subsequent_indent=indent, break_on_hyphens=False)


def machine(version: int) -> str:
    """Cores, memory CPU and system of this machine, and the settings of PostgreSQL."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        cpu = re.search(r"model name\s*: (.*)", text)[1]
    except (OSError, TypeError):
        cpu = platform.processor() or platform.machine()
    return paragraph(
        f"Machine: {os.cpu_count()} cores of {cpu}, {memory:.0f} GB of memory,"
        f" {platform.system()}. PostgreSQL {version} over a Unix socket, with the settings that it"
        " comes with (fsync on, shared_buffers 128 MB) but for max_connections = 600."
    )


def page(n: int, version: int, result: dict) -> str:
    """The text of docs/benchmark.md."""
    times, transfer, queries, sizes = (result[k] for k in ("times", "transfer", "queries", "sizes"))
    waits = {(m["way"], m["hold"], m["is_patient"]): m for m in result["waits"]}
    blocked = []
    for way, hold in product(WAYS, HOLDS):
        plain, patient = waits[way, hold, False], waits[way, hold, True]
        blocked.append(
            [
                f"{way}, {hold} s", f"{plain['longest'] / patient['longest']:.0f}",
                f"{patient['longest']:.2f} s", f"{plain['longest']:.2f} s",
                f"{patient['seconds']:.2f} s", f"{plain['seconds']:.2f} s",
            ]
        )  # fmt: skip
    longest = {p: max(m["longest"] for k, m in waits.items() if k[2] == p) for p in (True, False)}
    slower = {way: times[f"yoyo {way}"] / times[f"psql {way}"] for way in WAYS}
    commands = [
        [way, f"{slower[way]:.1f}", f"{1000 * times[f'yoyo {way}']:.0f} ms",
         f"{1000 * times[f'psql {way}']:.0f} ms"]
        for way in WAYS
    ]  # fmt: skip
    asked, shares = [], []
    for name, query in queries[n].items():
        p95s = [rows[name]["p95"] for rows in queries.values()]
        share, limit = "–", query["limit"]
        if limit and query["p95"]:
            shares.append((query["p95"] / limit, name))
            share = f"{100 * query['p95'] / limit:.0f} %"
        asked.append(
            [name, share, f"{limit:.0f} ms" if limit else "–"]
            + ["–" if p95 is None else f"{p95:.1f} ms" for p95 in p95s]
        )
    pairs = {"export-data": "pg_dump", "import-data": "pg_restore"}
    ratio = {ours: transfer[ours] / transfer[bare] for ours, bare in pairs.items()}
    moved = [
        [f"{ours} beside {bare}", f"{ratio[ours]:.2f}", f"{transfer[ours]:.1f} s",
         f"{transfer[bare]:.1f} s"]
        for ours, bare in pairs.items()
    ]  # fmt: skip
    total = sum(row.get("total_bytes", 0) for row in sizes.values())
    parts = ("total_bytes", "rows_bytes", "toast_bytes", "indexes_bytes")
    stored = [
        [name, f"{100 * row['total_bytes'] / total:.0f} %"]
        + [f"{(row[part] or 0) / n:,.0f}" for part in parts]
        for name, row in sizes.items()
        if row.get("total_bytes", 0) > total / 100
    ]
    indexes = [
        [name, f"{100 * row['size_bytes'] / total:.1f} %", f"{row['size_bytes'] / n:,.0f}"]
        for name, row in sorted(sizes.items(), key=lambda item: -item[1].get("size_bytes", 0))
        if row.get("size_bytes", 0) > total / 1000
    ]
    worst, query = max(shares)
    in_short = "\n".join(
        paragraph(f"- {text}")
        for text in (
            f"While a transaction of {max(HOLDS)} s holds `users`, no other session waited longer"
            f" than {longest[True]:.2f} s for the migration or its rollback; with the same DDL"
            f" without patience, {longest[False]:.1f} s.",
            f"`yoyo apply` takes {slower['apply']:.1f} times as long as `psql -1` of the same file:"
            f" {times['yoyo apply']:.2f} s.",
            f"At {n:,} properties the reference query nearest to its limit, {query}, takes"
            f" {100 * worst:.0f} % of it.",
            f"An export takes {ratio['export-data']:.2f} times as long as bare `pg_dump`, an import"
            f" {ratio['import-data']:.2f} times as long as bare `pg_restore`.",
        )
    )
    return f"""# Benchmark

All numbers are from one run of `make benchmark N={n}`, which writes this page.

{in_short}

{machine(version)}

## Waits of other sessions

![Wait of each request to users, by the second at which it came](benchmark.svg)

A new request comes every {ARRIVALS} s: during apply one that writes `users`, beside a transaction
that wrote another row; during rollback one that reads `users`, beside a transaction that read it.
Plain is the same file with the statement alone in place of the block around it; both by `psql -1`.

{table(["Way, transaction", "Times shorter", "Longest wait", "Plain", "Migration itself", "Plain"],
       blocked)}

## yoyo beside psql

The median of seven runs each. The difference is the start of Python, and yoyo's own tables.

{table(["", "Times as long", "yoyo", "psql -1"], commands)}

## Reference queries

`python -m validation queries` on the sample data, warm: the 95th percentile of up to twenty runs,
and its share of the limit at {n:,} properties.

{table(["Query", "Share", "Limit", *(f"{size:,}" for size in queries)], asked)}

## Export and import

{n:,} properties with their translations: `make export-data` beside `pg_dump -Fd -j2` of the six
tables, and `make import-data` into the empty tables beside `pg_restore -j2`, which makes them anew.

{table(["", "Times as long", "Command", "Bare"], moved)}

## Sizes

`python -m validation monitoring` on the sample data, without embeddings: {total / n:,.0f} bytes per
property in all. Bytes per property, by table:

{table(["Table", "Share", "In all", "Rows", "TOAST", "Indexes"], stored)}

and by index:

{table(["Index", "Share", "Bytes"], indexes)}
"""


def measure_all(n: int, server: Server, folder: Path) -> dict:
    """All that the page needs, by subject; for queries by number of properties."""
    result: dict = {"queries": {}}
    server.start({"max_connections": "600"})
    server.bootstrap("unmigrated")
    with clone(server, "unmigrated", "migrated") as migrated:
        timed(lambda: migrated.yoyo("apply"))
        say("yoyo beside psql")
        result["times"] = apply_times(server)
        result["waits"] = all_waits(server)
    server.bootstrap("property_v2_benchmark")
    database = Database(server, "property_v2_benchmark")
    timed(lambda: database.yoyo("apply"))
    for size in [size for size in SIZES if size < n] + [n]:
        say(f"sample data: {size:,} properties")
        sample_data = ("-m", "local_postgres", "sample-data", str(size), "-d", database.url)
        timed(lambda: database.run(sys.executable, *sample_data))
        say(f"reference queries on {size:,} properties")
        result["queries"][size] = query_times(database)
    result["sizes"] = sizes_by_name(database)
    say("export and import beside pg_dump and pg_restore")
    result["transfer"] = transfer_times(database, folder, rounds=3 if n <= 100_000 else 1)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark", description=__doc__)
    parser.add_argument("n", metavar="N", type=int, help="properties at most, 1,000 or more")
    n = parser.parse_args().n
    if n < 1000:
        parser.error("N must be 1,000 or more: below, there is nothing to measure")
    folder = Path(tempfile.mkdtemp(prefix="benchmark-"))
    server = Server(VERSIONS[0], folder / "data")
    try:
        result = measure_all(n, server, folder)
    except Unusable as error:
        fail(str(error))
    finally:
        server.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)
    text = page(n, server.version, result)
    PAGE.write_text(text, encoding="utf-8")
    PICTURE.write_text(picture(result["waits"]), encoding="utf-8")
    print(f"\n{text}")
    say(f"written: {PAGE.relative_to(PROJECT)} and {PICTURE.relative_to(PROJECT)}")


if __name__ == "__main__":
    main()
