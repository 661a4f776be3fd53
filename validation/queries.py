"""Explains and times the reference queries, and undoes what they write."""

import contextlib
import math
import os
import re
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg2
from psycopg2 import errors

from common.database import PROJECT, Connection, Unusable, sentence
from common.report import Result, show_results

from .expectation import HERE

RUNS = 20
ENOUGH_SECONDS = 5  # for the runs of one query
LARGE_ENOUGH = 10_000  # rows of a table; below that a sequential scan may be right


@dataclass
class Measurement(Result):
    """One query: the indexes of its plan, the rows it gives or deletes, times in milliseconds.

    A query that could not be timed has neither rows nor times; one without a limit has no limit.
    """

    indexes: list[str] = field(default_factory=list)
    rows: int | None = None
    p50: float | None = None
    p95: float | None = None
    limit: float | None = None


def run(connection: Connection, format: str, explain: Path | None, files: list[Path]) -> int:
    """explain and time the reference queries

    It measures these files, or every file of queries/; or it explains one: its plan, with times and
    pages. Gives 1 when a query misses its index on a large enough table, or its limit, else 0.
    Unusable: there are no rows to measure on, or a file cannot be read.
    """
    try:
        if not explain:
            return show_results(_measured(connection, files), format)
        sql = explain.read_text("utf-8")
        for (line,) in connection.look(f"{_settings(sql)} EXPLAIN (ANALYZE, BUFFERS) {sql}"):
            print(line)
    except OSError as error:
        raise Unusable(f"Cannot read {error.filename}: {error.strerror}.") from error
    return 0


def _measured(connection: Connection, files: list[Path]) -> Iterator[list[Result]]:
    sizes = (0, 0)  # of properties, of their translations
    with contextlib.suppress(errors.UndefinedTable):
        (sizes,) = connection.look(HERE / "sizes.sql")
    if not sizes[0]:
        raise Unusable(
            "Nothing to measure: there are no properties here; load some (the local database:"
            " make sample-data), or name another database with -d."
        )
    if connection.on_a_cluster("queries"):  # where an index shows nothing of it
        sizes = (0, 0)
    for path in files or sorted((PROJECT / "queries").glob("*.sql")):
        yield [_measure(connection, path, sizes)]


def _measure(connection: Connection, path: Path, sizes: tuple[int, int]) -> Measurement:
    sql, name = path.read_text("utf-8"), os.path.relpath(path)
    result = Measurement(re.sub(r"^\d+_", "", path.stem).replace("_", " "), "fail", "")
    if found := re.search(r"(?m)^-- Limit +(\d+) ms$", sql):
        result.limit = float(found[1])
    limit = result.limit or math.inf
    explain = connection.ours("queries", f"--explain {shlex.quote(name)}")
    with connection.cursor() as cursor:
        try:
            cursor.execute(f"SET LOCAL statement_timeout = '60s'; {_settings(sql)}")
            cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}")
            found = re.findall("'Index Name': '(.*?)'", str(cursor.fetchone()[0]))
            result.indexes = list(dict.fromkeys(found))
            result.found = "explained, "
            _time(cursor, sql, result)
            if result.p95 > limit:  # a busy moment of the machine gets a second chance
                _time(cursor, sql, result)
            limit_text = f" of {limit:.0f}" if result.limit else ""
            result.found = f"p50 {result.p50:6.1f}  p95 {result.p95:6.1f}{limit_text} ms"
            result.found += f"  {result.rows:>5,} rows  {', '.join(result.indexes) or 'no index'}"
            result.status = "pass"
        except psycopg2.Error as error:
            if connection.closed:
                raise
            result.found += f"not timed: {sentence(error)}"
            result.what_to_do = f"Run {name} in psql."
            if isinstance(error, (errors.ReadOnlySqlTransaction, errors.InsufficientPrivilege)):
                result.status = "warn"
                result.what_to_do = "Measure it on the primary, as a role that may write."
    connection.rollback()
    is_explained = not result.found.startswith("not timed")
    for wanted in re.findall(r"(?m)^-- Index +(.+)$", sql) if is_explained else ():
        is_read = set(wanted.split(" or ")) & set(result.indexes)
        if not is_read and sizes["translation" in wanted] >= LARGE_ENOUGH:
            result.status = "fail"
            result.what_to_do = f"It must read {wanted}: ANALYZE; then {explain}"
    if result.status == "pass" and result.p95 > limit:
        result.status = "fail"
        result.what_to_do = f"It is over its limit{busy()}: {explain}"
    return result


def _settings(sql: str) -> str:
    """The settings that the header of a file asks for, as statements."""
    found = re.findall(r"(?m)^-- Set +(\w+) = (\w+)", sql)
    return "".join(f"SET LOCAL {name} = '{value}'; " for name, value in found)


def busy() -> str:
    """Says so where this process gets too little of a processor, as the server then does."""
    wall, processor = time.perf_counter(), time.process_time()
    while time.process_time() - processor < 0.1:
        pass
    share = 0.1 / (time.perf_counter() - wall)
    return f" (this machine is busy, {share:.0%} of a processor was left)" if share < 0.8 else ""


def _time(cursor, sql: str, result: Measurement) -> None:
    times: list[float] = []
    while len(times) <= RUNS and sum(times) < ENOUGH_SECONDS * 1000:
        cursor.execute("SAVEPOINT run")
        began = time.perf_counter()
        cursor.execute(sql)
        if cursor.description:
            cursor.fetchall()
        times.append((time.perf_counter() - began) * 1000)
        result.rows = cursor.rowcount
        cursor.execute("ROLLBACK TO SAVEPOINT run")
    times = sorted(times[1:] or times)  # the first one warms up
    result.p50, result.p95 = (round(times[math.ceil(len(times) * p) - 1], 2) for p in (0.5, 0.95))
