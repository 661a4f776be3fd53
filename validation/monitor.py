"""Runs the SQL files of validation/monitor and shows what they found."""

from __future__ import annotations

import json
from datetime import timedelta

import psycopg2
from psycopg2.extras import RealDictCursor

from common.database import sentence

from .checks import HERE, rows


def run(connection: psycopg2.extensions.connection, arguments) -> int:
    """Prints a table per subject, or one JSON object with the rows of each for a collector.

    Args:
        arguments: format is "table" (sizes and times with units) or "json" (the names of the
            columns say the unit: bytes, seconds, ms, percent).

    Returns:
        0, also when a subject could not be read: its only row then says why, as "unavailable".

    Raises:
        psycopg2.Error: the connection is lost.
    """
    connection.cursor_factory = RealDictCursor
    subjects = {}
    for path in sorted((HERE / "monitor").glob("*.sql")):
        try:
            found = [dict(row) for row in rows(connection, path)]
        except psycopg2.Error as error:
            if connection.closed:
                raise
            found = [{"unavailable": sentence(error)}]
        subjects[path.stem[3:]] = found
        if arguments.format == "table":
            title = path.read_text(encoding="utf-8").partition("\n")[0].lstrip("- ")
            print(title, _table(found), "", sep="\n")
    if arguments.format == "json":
        print(json.dumps(subjects, ensure_ascii=False, indent=2))
    return 0


def _table(found: list[dict]) -> str:
    if not found:
        return "  none"
    columns = []
    for name in found[0]:
        values = [row[name] for row in found]
        title = name.removesuffix("_bytes").removesuffix("_seconds").replace("_", " ")
        texts = [title, *(_text(name, value) for value in values)]
        is_number = any(isinstance(value, (int, float)) for value in values)
        width = max(map(len, texts))
        columns.append([text.rjust(width) if is_number else text.ljust(width) for text in texts])
    return "\n".join(f"  {'  '.join(line)}".rstrip() for line in zip(*columns))


def _text(name: str, value: object) -> str:
    if value is None:
        return "-"
    if name.endswith("_seconds"):
        return str(timedelta(seconds=value))
    if name.endswith("_bytes"):
        for unit in ("B", "kB", "MB", "GB", "TB"):
            if value < 10240 or unit == "TB":
                return f"{value:,.0f} {unit}"
            value /= 1024
    return f"{value:,}" if isinstance(value, (int, float)) else str(value)
