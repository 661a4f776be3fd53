"""Where each migration stands, by the catalog, yoyo's tables and the sessions at work.

Beside the migrations: their files, yoyo's lock, and the tables that a rollback kept.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import psycopg2
from psycopg2 import sql
from psycopg2.extras import NamedTupleCursor
from yoyo import read_migrations

from common.database import PROJECT, Connection, Unusable, migration_table, settings
from common.report import Result

from . import expectation
from .checks import HERE

# Verdicts that others act upon
NOT_APPLIED = "not applied"
APPLIED = "applied"
NOT_MARKED = "committed but not marked"
OBJECTS_MISSING = "marked but objects missing"
PARTLY_THERE = "partly there"
RUNNING = "running now"
UNKNOWN = "marked but unknown here"
LEFT_BEHIND = "left behind"

CHECKSUMS = "SHA256SUMS"
KEPT_SCHEMA = "property_v2_kept"


@dataclass
class State(Result):
    """The verdict on one migration, on its files, on yoyo's lock or on kept tables.

    Attributes:
        objects: what the migration makes: kind and name, and kind and owner of what has that name.
        path: its file; None where there is none.
    """

    verdict: str = ""
    objects: tuple = ()
    path: Path | None = None


@dataclass
class Kept:
    """Tables that a rollback set aside.

    Attributes:
        since: when, with the time zone of the session; "?" where this role may not see it.
        counts: rows by table; None where this role may not see them.
        publications: those that still name a kept table.
    """

    since: str
    counts: dict[str, int | None]
    publications: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{listed(self.counts)} since {self.since}"


def states(connection: Connection) -> list[State]:
    """One verdict per migration of the folder, per fault of a file, for the lock, and what is kept.

    Raises:
        Unusable: there are no migrations in the folder that yoyo.ini names.
    """
    paths = files()
    with connection.cursor(cursor_factory=NamedTupleCursor) as cursor:
        marks = {row.migration_id for row in _select(cursor, migration_table())}
        locks = _select(cursor, "yoyo_lock")
        cursor.execute((HERE / "sessions.sql").read_text(encoding="utf-8"))
        sessions = cursor.fetchall()
    result, objects = [], expectation.objects(connection)
    for migration, path in paths.items():
        made = tuple(objects.get(migration, ()))
        names = (migration, f"{migration}.rollback")
        session = next((s for s in sessions if s.application_name in names), None)
        verdict = _migration(connection, migration, made, migration in marks, session)
        result.append(State(migration, *verdict, made, path))
    for migration in sorted(marks - paths.keys()):
        way_out = "Update this checkout: the database is ahead of it."
        found = f"{UNKNOWN}: there is no such file"
        result.append(State(migration, "fail", found, way_out, UNKNOWN))
    of_yoyo = [s for s in sessions if not s.application_name.endswith("_kept.sql")]
    result += [_lock(connection, lock, of_yoyo) for lock in locks[:1]] or [
        State("yoyo lock", "pass", "free", None, "free")
    ]
    moving = next((s for s in sessions if s.application_name.endswith("_kept.sql")), None)
    if moving:
        way_out = f"Wait for it; to stop it: SELECT pg_terminate_backend({moving.pid});"
        result.append(State("kept tables", "fail", f"{RUNNING}: {moving.who}", way_out, RUNNING))
    elif found := kept(connection):
        new = row_counts(connection, found.counts)
        way_out = f"to give them up: {connection.ours('drop-kept')}"
        if any(new.values()):
            way_out = f"The new ones hold {listed(new)}. Look at both; {way_out}"
        elif not all(s.verdict == APPLIED for s in result if s.path):
            back = f"{connection.ours('migrate')} && {connection.ours('restore-kept')}"
            way_out = f"{back}; {way_out}"
        else:
            way_out = f"{connection.ours('restore-kept')}; {way_out}"
        result.append(State("kept tables", "warn", str(found), way_out))
        for publication in found.publications:
            way_out = f"ALTER PUBLICATION {publication} DROP TABLE …, or move them there too."
            said = f"publication {publication}: a change of a kept row stops the subscriber"
            result.append(State("kept tables", "warn", said, way_out))
    connection.rollback()
    return result + [fault for item in paths.items() for fault in _faults(*item)]


def files() -> dict[str, Path]:
    """The migrations of the folder by their ids, in the order in which they are applied.

    Raises:
        Unusable: there are none.
    """
    folders = sources()
    paths = {m.id: Path(m.path) for m in read_migrations(*folders)}
    if not paths:
        raise Unusable(f"There are no migrations in {folders[0]}: look at sources in yoyo.ini.")
    return paths


def sources() -> list[str]:
    """The folders of the migrations, as yoyo takes them."""
    return [str(PROJECT / s) for s in settings().get("sources", "migrations").split()]


def listed(counts: dict[str, int | None]) -> str:
    """500 properties, 3 amenities; an unknown number of rows as ?."""
    seen = ("?" if count is None else f"{count:,}" for count in counts.values())
    return ", ".join(f"{count} {table}" for count, table in zip(seen, counts))


def kept(connection: Connection) -> Kept | None:
    """What a rollback kept here, None when nothing is kept."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname, array(SELECT quote_ident(pubname)::text FROM pg_publication_tables"
            f" WHERE schemaname = '{KEPT_SCHEMA}' AND tablename = relname) FROM pg_class"
            f" WHERE relnamespace = to_regnamespace('{KEPT_SCHEMA}') AND relkind IN ('r', 'p')"
            " AND relname <> 'kept' ORDER BY relname"
        )
        published = dict(cursor)
        if not published:
            return None
        since = _value(cursor, "SELECT date_trunc('second', since)::text FROM {}", "kept")
        counts = row_counts(connection, published, KEPT_SCHEMA)
        return Kept(since or "?", counts, sorted({p for ps in published.values() for p in ps}))


def row_counts(connection: Connection, tables, schema: str = "public") -> dict[str, int | None]:
    """Rows by table, without those that are not there; None where this role may not see all."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace(%s)"
            " AND relname = ANY(%s) AND relkind IN ('r', 'p') ORDER BY relname",
            [schema, list(tables)],
        )
        there = [name for (name,) in cursor]
        return {t: _value(cursor, "SELECT count(*) FROM {}", t, schema) for t in there}


def _value(cursor, query: str, table: str, schema: str = KEPT_SCHEMA):
    """What a query says of a table; None where this role may not ask, or would not see all."""
    try:
        cursor.execute("SAVEPOINT value; SET LOCAL row_security = off")
        cursor.execute(sql.SQL(query).format(sql.Identifier(schema, table)))
        return cursor.fetchone()[0]
    except (psycopg2.errors.InsufficientPrivilege, psycopg2.errors.UndefinedTable):
        return None
    finally:
        if not cursor.connection.closed:
            cursor.execute("ROLLBACK TO SAVEPOINT value")


def _migration(connection: Connection, migration: str, objects, is_marked: bool, session) -> tuple:
    """Status, what was found, what to do, and the verdict."""
    there = [f"{kind} {name} of {owner}" for _, name, kind, owner in objects if kind]
    missing = [f"{kind} {name}" for kind, name, found, _ in objects if found != kind]
    if session:
        end = f"Wait for it; to stop it: SELECT pg_terminate_backend({session.pid});"
        return "fail", f"{RUNNING}: {session.who}", end, RUNNING
    if is_marked and missing:
        if there:
            way_out = f"{connection.ours('validate')} lists what is missing, and the SQL for it."
        else:
            way_out = (
                "An interrupted rollback leaves this; otherwise ask who dropped them. Then: "
                + connection.yoyo(f"unmark -m {migration}")
            )
        return "fail", f"{OBJECTS_MISSING}: {_some(missing)}", way_out, OBJECTS_MISSING
    if is_marked:
        return "pass", APPLIED, None, APPLIED
    if not there:
        return "warn", NOT_APPLIED, connection.ours("migrate"), NOT_APPLIED
    if not missing:
        way_out = f"Prove it: {connection.ours('validate')}; when that passes: "
        way_out += connection.yoyo(f"mark -m {migration}")
        return (
            "fail",
            f"{NOT_MARKED}: an apply was interrupted after its commit",
            way_out,
            NOT_MARKED,
        )
    found = f"{len(there)} of its {len(objects)} objects ({_some(there)}), and no mark"
    way_out = "No run of yoyo leaves this: rename what is in the way, or restore a backup."
    return "fail", f"{PARTLY_THERE}: {found}", way_out, PARTLY_THERE


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")


def _lock(connection: Connection, lock, sessions: list) -> State:
    """The verdict on the row of yoyo_lock: is somebody at work, or was it left behind?"""
    since = f"{lock.ctime:%F %T} UTC"
    if sessions:
        found = f"held by process {lock.pid} since {since}: {sessions[0].who}"
        return State("yoyo lock", "fail", found, "Wait for it.", RUNNING)
    found = f"left behind by process {lock.pid} at {since}: no session of yoyo is here"
    way_out = f"Make sure that the process is gone (ps -p {lock.pid} where it ran), then: "
    way_out += connection.yoyo("break-lock")
    return State("yoyo lock", "fail", found, way_out, LEFT_BEHIND)


def _select(cursor, table: str) -> list:
    """All rows of one of yoyo's tables; none when it is not there."""
    cursor.execute("SELECT to_regclass(%s) IS NOT NULL AS there", [f'public."{table}"'])
    if not cursor.fetchone().there:
        return []
    cursor.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier("public", table)))
    return cursor.fetchall()


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
