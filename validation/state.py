"""Where each migration stands, by the catalog, yoyo's tables and the sessions at work."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import psycopg2
from psycopg2.extras import NamedTupleCursor
from yoyo import read_migrations

from .checks import HERE, rows
from .database import PROJECT, Unusable, migration_table, settings
from .report import Result

NOT_APPLIED = "not applied"
APPLIED = "applied"
NOT_MARKED = "committed but not marked"
OBJECTS_MISSING = "marked but objects missing"
PARTLY_THERE = "partly there"
RUNNING = "running now"
UNKNOWN = "marked but unknown here"
FILE_CHANGED = "file changed"
NO_ROLLBACK = "rollback file missing"
FREE = "free"
LEFT_BEHIND = "left behind"
STATUS = {APPLIED: "pass", FREE: "pass", NOT_APPLIED: "warn"}  # all others: fail

CHECKSUMS = "SHA256SUMS"


@dataclass
class State(Result):
    """The verdict on one migration, or on yoyo's lock (check is then "yoyo lock")."""

    verdict: str = ""
    objects: tuple = ()
    path: Path | None = None


def _state(check: str, verdict: str, found: str = "", what_to_do: str | None = None) -> State:
    return State(check, STATUS.get(verdict, "fail"), verdict + found, what_to_do, verdict)


def states(connection: psycopg2.extensions.connection) -> list[State]:
    """One verdict per migration of the folder, one for the lock, and one per file at fault.

    Raises:
        Unusable: there are no migrations in the folder that yoyo.ini names.
    """
    sources = [PROJECT / source for source in settings().get("sources", "migrations").split()]
    migrations = {m.id: Path(m.path) for m in read_migrations(*map(str, sources))}
    if not migrations:
        raise Unusable(f"There are no migrations in {sources[0]}: look at sources in yoyo.ini.")
    result = []
    with connection.cursor(cursor_factory=NamedTupleCursor) as cursor:
        marks = {row.migration_id for row in _select(cursor, migration_table())}
        for migration, path in migrations.items():
            file = HERE / "objects" / f"{migration}.sql"
            objects = tuple(rows(connection, file)) if file.exists() else ()
            result.append(_verdict(cursor, migration, objects, migration in marks))
            result[-1].objects, result[-1].path = objects, path
            result += _files(migration, path)
        for migration in sorted(marks - migrations.keys()):
            way_out = "Update this checkout: the database is ahead of it."
            result.append(_state(migration, UNKNOWN, ": there is no such file", way_out))
        result.append(_lock(cursor))
    connection.rollback()
    return result


def _select(cursor, table: str) -> list:
    """All rows of one of yoyo's tables; none when it is not there."""
    cursor.execute("SELECT to_regclass(quote_ident(%s))::text AS name", [table])
    name = cursor.fetchone().name
    if name:
        cursor.execute(f"SELECT * FROM {name}")
    return cursor.fetchall() if name else []


def _yoyo(command: str) -> str:
    service = os.environ.get("PGSERVICE")
    return f"PGSERVICE={service} yoyo {command} -d postgresql://" if service else f"yoyo {command}"


def _verdict(cursor, migration: str, objects: tuple, marked: bool) -> State:
    # The migration's files set application_name for as long as they run.
    cursor.execute(
        "SELECT format('pid %%s of %%s (%%s), for %%s', pid, usename, application_name,"
        " coalesce(date_trunc('second', clock_timestamp() - xact_start)::text, '?')) AS who, pid"
        " FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name IN (%s, %s)",
        [migration, f"{migration}.rollback"],
    )
    if at_work := cursor.fetchone():
        way_out = f"Wait for it; to stop it: SELECT pg_terminate_backend({at_work.pid});"
        return _state(migration, RUNNING, f": {at_work.who}", way_out)
    there = [f"{kind} {name} of {owner}" for _, name, kind, owner in objects if kind]
    missing = [f"{expected} {name}" for expected, name, kind, _ in objects if kind != expected]
    if marked and missing:
        way_out = (
            "See python -m validation post-migration; mend what it lists, or roll back and apply."
            if there
            else "An interrupted rollback leaves this; otherwise ask who dropped them. Then: "
            + _yoyo(f"unmark -m {migration}")
        )
        return _state(migration, OBJECTS_MISSING, f": {_some(missing)}", way_out)
    if marked:
        return _state(migration, APPLIED)
    if objects and not missing:
        way_out = "Prove it: python -m validation post-migration; when that passes: "
        way_out += _yoyo(f"mark -m {migration}")
        return _state(migration, NOT_MARKED, ": an apply was interrupted after its commit", way_out)
    if there:
        found = f": {len(there)} of its {len(objects)} objects ({_some(there)}), and no mark"
        way_out = "No run of yoyo leaves this: rename what is in the way, or restore a backup."
        return _state(migration, PARTLY_THERE, found, way_out)
    return _state(migration, NOT_APPLIED, "", _yoyo("apply"))


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _files(migration: str, path: Path) -> list[State]:
    checksums = path.parent / CHECKSUMS
    lines = checksums.read_text(encoding="utf-8").splitlines() if checksums.exists() else []
    listed = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    result = []
    for file in (path, path.with_suffix(".rollback.sql")):
        if not file.exists():
            way_out = "git restore it: without it yoyo rollback drops nothing and says nothing."
            result.append(_state(migration, NO_ROLLBACK, f": {file.name}", way_out))
        elif listed.get(file.name) != hashlib.sha256(file.read_bytes()).hexdigest():
            way_out = (
                "If it was applied anywhere, git restore it and write a new migration; "
                "otherwise: make checksums"
            )
            found = f": {file.name} is not what {CHECKSUMS} lists"
            result.append(_state(migration, FILE_CHANGED, found, way_out))
    return result


def _lock(cursor) -> State:
    lock = next(iter(_select(cursor, "yoyo_lock")), None)
    if not lock:
        return _state("yoyo lock", FREE)
    since = f"{lock.ctime:%Y-%m-%d %H:%M:%S} UTC"
    cursor.execute(
        "SELECT format('session %s of %s', pid, usename) AS who FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND application_name NOT IN ('python -m validation', 'python -m operations')"
        " AND (query LIKE '%yoyo%' OR application_name LIKE '%yoyo%'"
        " OR application_name LIKE '0%')"
    )
    if session := cursor.fetchone():
        found = f"held by process {lock.pid} since {since}: {session.who}"
        return State("yoyo lock", "fail", found, "Wait for it.", RUNNING)
    return _state(
        "yoyo lock", LEFT_BEHIND,
        f" by process {lock.pid} at {since}: no session of yoyo is here",
        f"Make sure that the process is gone (ps -p {lock.pid} where it ran), then: "
        + _yoyo("break-lock"),
    )  # fmt: skip
