"""Runs the SQL files of one folder, each in a transaction that is rolled back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg2

from common.database import sentence
from common.report import Result

HERE = Path(__file__).resolve().parent


def run(connection: psycopg2.extensions.connection, folder: str) -> Iterator[list[Result]]:
    """Runs every file of validation/<folder> in the order of their names.

    Yields:
        The rows of one file. A file that cannot run is a failed check of its own.

    Raises:
        psycopg2.Error: the connection is lost.
    """
    for path in sorted((HERE / folder).glob("*.sql")):
        try:
            yield [Result(*row) for row in rows(connection, path)]
        except psycopg2.Error as error:
            if connection.closed:
                raise
            found = f"could not be checked: {sentence(error)}"
            way_out = f"Run validation/{folder}/{path.name} in psql."
            yield [Result(path.stem[3:].replace("_", " "), "fail", found, way_out)]


def rows(connection: psycopg2.extensions.connection, path: Path) -> list[tuple]:
    """The rows that a file's last statement returns."""
    with connection.cursor() as cursor:
        try:
            cursor.execute(path.read_text(encoding="utf-8"))
            return cursor.fetchall()
        finally:
            if not connection.closed:
                connection.rollback()
