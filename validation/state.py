"""Where each migration stands, by the catalog, yoyo's tables and the sessions at work."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import psycopg2
from psycopg2.extras import NamedTupleCursor
from yoyo import read_migrations

from . import expectation
from .checks import HERE
from .database import PROJECT, Unusable, migration_table, settings
from .report import Result

# Verdicts of validation/state that others act upon
NOT_APPLIED = "not applied"
APPLIED = "applied"
NOT_MARKED = "committed but not marked"
OBJECTS_MISSING = "marked but objects missing"
PARTLY_THERE = "partly there"
RUNNING = "running now"

CHECKSUMS = "SHA256SUMS"


@dataclass
class State(Result):
    """The verdict on one migration, or on yoyo's lock (check is then "yoyo lock").

    Attributes:
        objects: what the migration makes: kind and name, and kind and owner of what has that name.
        path: its file; None where there is none.
    """

    verdict: str = ""
    objects: tuple = ()
    path: Path | None = None


def states(connection: psycopg2.extensions.connection) -> list[State]:
    """One verdict per migration of the folder, one for the lock, and one per file at fault.

    Raises:
        Unusable: there are no migrations in the folder that yoyo.ini names.
    """
    sources = [PROJECT / source for source in settings().get("sources", "migrations").split()]
    paths = {m.id: Path(m.path) for m in read_migrations(*map(str, sources))}
    if not paths:
        raise Unusable(f"There are no migrations in {sources[0]}: look at sources in yoyo.ini.")
    result, objects = [], expectation.objects(connection)
    with connection.cursor(cursor_factory=NamedTupleCursor) as cursor:
        marks = {row.migration_id for row in _select(cursor, migration_table())}
        locks = [{"pid": r.pid, "since": f"{r.ctime:%F %T}"} for r in _select(cursor, "yoyo_lock")]
        migrations = [
            {
                "turn": turn, "id": migration, "is_here": migration in paths,
                "is_marked": migration in marks, "objects": objects.get(migration, ()),
            }
            for turn, migration in enumerate([*paths, *sorted(marks - paths.keys())])
        ]  # fmt: skip
        service = os.environ.get("PGSERVICE", "").replace("%", "%%")
        yoyo = f"PGSERVICE={service} yoyo %s -d postgresql://" if service else "yoyo %s"
        given = {"migrations": migrations, "locks": locks, "yoyo": yoyo}
        cursor.execute("SELECT set_config('property_v2.given', %s, true)", [json.dumps(given)])
        for file in sorted((HERE / "state").glob("*.sql")):
            cursor.execute(file.read_text(encoding="utf-8"))
            for row in cursor:
                verdict = (row.subject, row.status, row.found, row.what_to_do, row.verdict)
                makes = (objects.get(row.subject, ()), paths.get(row.subject))
                result.append(State(*verdict, *makes))
    connection.rollback()
    return result + [fault for item in paths.items() for fault in _faults(*item)]


def _select(cursor, table: str) -> list:
    """All rows of one of yoyo's tables; none when it is not there."""
    cursor.execute("SELECT to_regclass(quote_ident(%s))::text AS name", [table])
    name = cursor.fetchone().name
    if name:
        cursor.execute(f"SELECT * FROM {name}")
    return cursor.fetchall() if name else []


def _faults(migration: str, path: Path) -> list[State]:
    """Files that are missing, or are not what was reviewed."""
    checksums = path.parent / CHECKSUMS
    lines = checksums.read_text(encoding="utf-8").splitlines() if checksums.exists() else []
    listed = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    result = []
    for file in (path, path.with_suffix(".rollback.sql")):
        if not file.exists():
            found = f"rollback file missing: {file.name}"
            way_out = "git restore it: without it yoyo rollback drops nothing and says nothing."
        elif listed.get(file.name) != hashlib.sha256(file.read_bytes()).hexdigest():
            found = f"file changed: {file.name} is not what {CHECKSUMS} lists"
            way_out = (
                "If it was applied anywhere, git restore it and write a new migration; "
                "otherwise: make renew"
            )
        else:
            continue
        result.append(State(migration, "fail", found, way_out))
    return result
