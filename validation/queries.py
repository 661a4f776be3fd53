"""Explains and times the reference queries, and undoes what they write."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import re
import shlex
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

import psycopg2
from psycopg2 import errors
from psycopg2.extensions import make_dsn

from common.database import PROJECT, Unusable, sentence
from common.report import Report, Result

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


def run(connection: psycopg2.extensions.connection, arguments: argparse.Namespace) -> int:
    """Measures arguments.files, or every file of queries/, and prints the result.

    Returns:
        0, or 1 when a query misses its index on a large enough table, or its limit.

    Raises:
        Unusable: there are no rows to measure on, or a file cannot be read.
    """
    report = Report(arguments.format)
    sizes = _sizes(connection)
    try:
        for path in arguments.files or sorted((PROJECT / "queries").glob("*.sql")):
            report.add([_measure(connection, path, path.read_text(encoding="utf-8"), sizes)])
    except OSError as error:
        raise Unusable(f"Cannot read {error.filename}: {error.strerror}.") from error
    return report.close()


def _sizes(connection) -> dict[bool, int]:
    """Rows of property_translations (True) and of properties (False)."""
    sizes = {}
    with connection.cursor() as cursor, contextlib.suppress(errors.UndefinedTable):
        for table in ("property_translations", "properties"):
            cursor.execute(f"SELECT count(*) FROM public.{table}")
            sizes["translation" in table] = cursor.fetchone()[0]
    connection.rollback()
    if not sizes.get(False):
        raise Unusable(
            "Nothing to measure: there are no properties here; load some (the local database:"
            " make sample-data), or name another database with -d."
        )
    return sizes


def _measure(connection, path: Path, sql: str, sizes: dict[bool, int]) -> Measurement:
    result = Measurement(re.sub(r"^\d+_", "", path.stem).replace("_", " "), "pass", "")
    name = os.path.relpath(path)
    if limit := re.search(r"(?m)^-- Limit +(\d+) ms$", sql):
        result.limit = float(limit[1])
    with connection.cursor() as cursor:
        try:
            cursor.execute(f"SET LOCAL statement_timeout = '60s'; {_settings(sql)}")
            cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}")
            result.indexes = _indexes(cursor.fetchone()[0][0]["Plan"])
            for _ in range(2):  # a busy moment of the machine gets a second chance
                _time(cursor, sql, result)
                if result.limit is None or result.p95 <= result.limit:
                    break
        except psycopg2.Error as error:
            if connection.closed:
                raise
            result.status, result.what_to_do = "fail", f"Run {name} in psql."
            if isinstance(error, (errors.ReadOnlySqlTransaction, errors.InsufficientPrivilege)):
                result.status = "warn"
                result.what_to_do = "Measure it on the primary, as a role that may write."
            result.found = f"{'explained, ' * bool(result.indexes)}not timed: {sentence(error)}"
        finally:
            if not connection.closed:
                connection.rollback()
    if result.p95 is not None:
        limit_text = "" if result.limit is None else f" of {result.limit:.0f}"
        result.found = f"p50 {result.p50:6.1f}  p95 {result.p95:6.1f}{limit_text} ms"
        result.found += f"  {result.rows:>5,} rows  {', '.join(result.indexes) or 'no index'}"
    elif not result.indexes:
        return result
    for wanted in re.findall(r"(?m)^-- Index +(.+)$", sql):
        choice = wanted.split(" or ")
        if not set(choice) & set(result.indexes) and sizes["translation" in wanted] >= LARGE_ENOUGH:
            result.status = "fail"
            result.what_to_do = (
                f"It must read {wanted}: ANALYZE; then {_explain(connection, path, sql)}"
            )
            return result
    if None not in (result.limit, result.p95) and result.p95 > result.limit:
        result.status = "fail"
        result.what_to_do = f"It is over its limit{_busy()}: {_explain(connection, path, sql)}"
    return result


def _settings(sql: str) -> str:
    """The settings that the header of a file asks for, as statements."""
    found = re.findall(r"(?m)^-- Set +(\w+) = (\w+)", sql)
    return "".join(f"SET LOCAL {name} = '{value}'; " for name, value in found)


def _explain(connection, path: Path, sql: str) -> str:
    """A command for a shell that shows the plan as it was measured, and undoes what it writes."""
    known = connection.info.dsn_parameters  # it has no password: psql finds it as we did
    where = make_dsn(**{k: known[k] for k in ("host", "port", "user", "dbname") if k in known})
    psql = "psql" if shutil.which("psql") else "python -m local_postgres psql"
    start = f'"BEGIN; {_settings(sql)}EXPLAIN (ANALYZE, BUFFERS)"'
    file = shlex.quote(os.path.relpath(path))
    return f"(echo {start}; cat {file}) | {psql} -X -d {shlex.quote(where)}"


def _busy() -> str:
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
    result.p50 = round(times[math.ceil(len(times) * 0.5) - 1], 2)
    result.p95 = round(times[math.ceil(len(times) * 0.95) - 1], 2)


def _indexes(node: dict) -> list[str]:
    """Names of the indexes that a plan reads, each once."""
    found = [node["Index Name"]] if "Index Name" in node else []
    for child in node.get("Plans", []):
        found += _indexes(child)
    return list(dict.fromkeys(found))
