"""Where each migration stands, by the catalog, yoyo's tables and the sessions at work."""

from __future__ import annotations

import hashlib
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

CHECKSUMS = "SHA256SUMS"


@dataclass
class State(Result):
    """The verdict on one migration, or on yoyo's lock (check is then "yoyo lock")."""

    verdict: str = ""
    objects: tuple = ()
    path: Path | None = None


def states(connection: psycopg2.extensions.connection) -> list[State]:
    """One verdict per migration of the folder, one for the lock, and one per file at fault.

    Raises:
        Unusable: there are no migrations in the folder that yoyo.ini names.
    """
    sources = [PROJECT / source for source in settings().get("sources", "migrations").split()]
    migrations = {m.id: Path(m.path) for m in read_migrations(*map(str, sources))}
    if not migrations:
        raise Unusable(f"There are no migrations in {sources[0]}: look at sources in yoyo.ini.")
    with connection.cursor(cursor_factory=NamedTupleCursor) as cursor:
        marks = _marks(cursor)
        result = []
        for migration, path in migrations.items():
            result.append(_verdict(connection, cursor, migration, marks))
            result[-1].path = path
            result += _files(migration, path)
        for migration in sorted(marks - migrations.keys()):
            result.append(
                State(
                    migration, "fail", f"{UNKNOWN}: there is no such file",
                    "Update this checkout: the database is ahead of it.", UNKNOWN,
                )
            )  # fmt: skip
        result.append(_lock(cursor))
    connection.rollback()
    return result


def _table(cursor, name: str) -> str | None:
    cursor.execute("SELECT to_regclass(quote_ident(%s))::text AS name", [name])
    return cursor.fetchone().name


def _marks(cursor) -> set[str]:
    table = _table(cursor, migration_table())
    if not table:
        return set()
    cursor.execute(f"SELECT migration_id FROM {table}")
    return {row.migration_id for row in cursor}


def _verdict(connection, cursor, migration: str, marks: set[str]) -> State:
    # The migration's files set application_name for as long as they run.
    cursor.execute(
        "SELECT pid, usename, application_name,"
        " coalesce(date_trunc('second', clock_timestamp() - xact_start)::text, '?') AS age"
        " FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name IN (%s, %s)",
        [migration, f"{migration}.rollback"],
    )
    at_work = cursor.fetchone()
    objects = HERE / "objects" / f"{migration}.sql"
    expected = tuple(rows(connection, objects)) if objects.exists() else ()
    there = [o for o in expected if o[2]]
    missing = [f"{o[0]} {o[1]}" for o in expected if o[2] != o[0]]
    count = f"{len(there)} of its {len(expected)} objects"

    def state(verdict: str, status: str, found: str, what_to_do: str | None = None) -> State:
        return State(migration, status, verdict + found, what_to_do, verdict, expected)

    if at_work:
        return state(
            RUNNING, "fail",
            f": pid {at_work.pid} of {at_work.usename} ({at_work.application_name}),"
            f" for {at_work.age}",
            f"Wait for it; to stop it: SELECT pg_terminate_backend({at_work.pid});",
        )  # fmt: skip
    if migration in marks and missing:
        way_out = (
            "See python -m validation post-migration; mend what it lists, or roll back and apply."
            if there
            else "An interrupted rollback leaves this; otherwise ask who dropped them. "
            f"Then: yoyo unmark -m {migration}"
        )
        return state(OBJECTS_MISSING, "fail", f": {_some(missing)}", way_out)
    if migration in marks:
        return state(APPLIED, "pass", "")
    if expected and not missing:
        return state(
            NOT_MARKED, "fail",
            ": an apply was interrupted after its commit",
            "Prove it: python -m validation post-migration; when that passes: "
            f"yoyo mark -m {migration}",
        )  # fmt: skip
    if there:
        return state(
            PARTLY_THERE, "fail",
            f": {count} ({_some([f'{o[2]} {o[1]} of {o[3]}' for o in there])}), and no mark",
            "No run of yoyo leaves this behind: rename what is in the way, or restore a backup.",
        )  # fmt: skip
    return state(NOT_APPLIED, "warn", "", "yoyo apply")


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _files(migration: str, path: Path) -> list[State]:
    listed = {}
    checksums = path.parent / CHECKSUMS
    if checksums.exists():
        lines = checksums.read_text(encoding="utf-8").splitlines()
        listed = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    result = []
    rollback = path.with_suffix(".rollback.sql")
    for file in (path, rollback):
        if not file.exists():
            result.append(
                State(
                    migration, "fail", f"{NO_ROLLBACK}: {file.name}",
                    "git restore it: without it yoyo rollback drops nothing and says nothing.",
                    NO_ROLLBACK,
                )
            )  # fmt: skip
        elif listed.get(file.name) != hashlib.sha256(file.read_bytes()).hexdigest():
            result.append(
                State(
                    migration, "fail",
                    f"{FILE_CHANGED}: {file.name} is not what {CHECKSUMS} lists",
                    "If it was applied anywhere, git restore it and write a new migration; "
                    "otherwise: make checksums",
                    FILE_CHANGED,
                )
            )  # fmt: skip
    return result


def _lock(cursor) -> State:
    name = "yoyo lock"
    table = _table(cursor, "yoyo_lock")
    if table:
        cursor.execute(f"SELECT pid, date_trunc('second', ctime) AS since FROM {table}")
    row = cursor.fetchone() if table else None
    if not row:
        return State(name, "pass", "free", verdict="free")
    cursor.execute(
        "SELECT pid, usename FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND application_name NOT IN ('python -m validation', 'python -m operations')"
        " AND (query LIKE '%yoyo%' OR application_name LIKE '%yoyo%'"
        " OR application_name LIKE '0%')"
    )
    session = cursor.fetchone()
    if session:
        return State(
            name, "fail",
            f"held by process {row.pid} since {row.since} UTC: session {session.pid}"
            f" of {session.usename}",
            "Wait for it.",
            RUNNING,
        )  # fmt: skip
    return State(
        name, "fail",
        f"left behind by process {row.pid} at {row.since} UTC: no session of yoyo is here",
        f"Make sure that the process is gone (ps -p {row.pid} where it ran), then: "
        "yoyo break-lock",
        "left behind",
    )  # fmt: skip
