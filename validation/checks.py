"""Runs SQL files, each in a transaction that is rolled back."""

from collections.abc import Iterator
from pathlib import Path

import psycopg2
from psycopg2.extras import NamedTupleCursor

from common.database import Connection, sentence
from common.report import Result, print_json, print_table

from . import expectation
from .expectation import HERE


def run(connection: Connection, *folders: str) -> Iterator[list[Result]]:
    """Runs every file of these folders, and gives the rows of one after the other.

    A file that cannot run is a failed check of its own; psycopg2.Error: the connection is lost.
    """
    for path in (path for folder in folders for path in sorted((HERE / folder).glob("*.sql"))):
        try:
            results = [Result(*row) for row in rows(connection, path)]
        except psycopg2.Error as error:
            if connection.closed:
                raise
            found = f"could not be checked: {sentence(error)}"
            way_out = f"Run validation/{path.parent.name}/{path.name} in psql."
            results = [Result(path.stem[3:].replace("_", " "), "fail", found, way_out)]
        for result in results:  # SQL knows the local database alone
            way_out = (result.what_to_do or "").replace("yoyo apply", connection.yoyo("apply"))
            without = connection.ours("migrate", "--no-backup")
            result.what_to_do = way_out.replace("make migrate BACKUP=no", without) or None
        yield results


def monitor(connection: Connection, arguments) -> None:
    """Prints a table per subject, or one JSON object with the rows of each for a collector.

    In JSON the names of the columns say the unit: bytes, seconds, ms, percent. A subject that could
    not be read has one row, which says why as "unavailable".
    """
    subjects = {}
    files = "[479]*.sql" if connection.on_a_cluster("monitor") else "*.sql"
    for path in sorted((HERE / "monitor").glob(files)):
        try:
            found = [row._asdict() for row in rows(connection, path)]
        except psycopg2.Error as error:
            if connection.closed:
                raise
            found = [{"unavailable": sentence(error)}]
        subjects[path.stem[3:]] = found
        if arguments.format == "table":
            print(path.read_text(encoding="utf-8").partition("\n")[0].lstrip("- "))
            print_table(found) if found else print("  none")
            print()
    if arguments.format == "json":
        print_json(subjects)


def rows(connection: Connection, path: Path) -> list[tuple]:
    """The rows that a file's last statement returns, which may be called by their columns."""
    with connection.cursor(cursor_factory=NamedTupleCursor) as cursor:
        try:
            tables = ",".join(expectation.tables())
            cursor.execute("SELECT set_config('property_v2.tables', %s, true)", [tables])
            cursor.execute(path.read_text(encoding="utf-8"))
            return cursor.fetchall()
        finally:
            if not connection.closed:
                connection.rollback()
