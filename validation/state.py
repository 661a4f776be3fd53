"""Where each migration stands, by the catalog, yoyo's tables and the sessions at work.

Beside the migrations: their files, yoyo's lock, and the tables that a rollback kept.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from psycopg2 import sql
from yoyo import read_migrations

from common.database import PROJECT, Connection, Unusable, settings
from common.report import Result

from . import expectation
from .checks import HERE, rows

# Verdicts that others act upon
NOT_APPLIED = "not applied"
APPLIED = "applied"
NOT_MARKED = "committed but not marked"
OBJECTS_MISSING = "marked but objects missing"
PARTLY_THERE = "partly there"
HALF_BUILT = "index half built"
RUNNING = "running now"
UNKNOWN = "marked but unknown here"
LEFT_BEHIND = "left behind"

STATUS = {APPLIED: "pass", NOT_APPLIED: "warn"}
CHECKSUMS = "SHA256SUMS"
KEPT_SCHEMA = "property_v2_kept"


@dataclass
class State(Result):
    """The verdict on one migration, on its files, on yoyo's lock or on kept tables.

    Attributes:
        what_to_do: each command on a line of its own, to be pasted.
        objects: what the migration makes: kind and name, and kind and owner of what has that name.
        path: its file; None where there is none.
    """

    verdict: str = ""
    objects: tuple = ()
    path: Path | None = None


@dataclass
class Kept:
    """Tables that a rollback of a migration set aside, since when, and their rows by table.

    Unknown, where this role may not see it, are a time as "?" and a number of rows as None.
    """

    migration: str
    since: str
    counts: dict[str, int | None]
    publications: list[str]

    def __str__(self) -> str:
        return f"{listed(self.counts)} since {self.since}"


def states(connection: Connection) -> list[State]:
    """One verdict per migration of the folder, per fault of a file, for the lock, and what is kept.

    Raises:
        Unusable: there are no migrations in the folder that yoyo.ini names, or this is a worker.
    """
    connection.on_a_cluster("state")
    paths, facts, objects = files(), _facts(connection), expectation.objects(connection)
    result = []
    for migration, path in paths.items():
        made = tuple(objects.get(migration, ()))
        names = (migration, f"{migration}.rollback")
        session = next((s for s in facts["sessions"] if s["name"] in names), None)
        verdict, detail, way_out = _verdict(migration, made, migration in facts["marks"], session)
        found = f"{verdict}: {detail}" if detail else verdict
        status = STATUS.get(verdict, "fail")
        result.append(State(migration, status, found, way_out, verdict, made, path))
    for migration in sorted(set(facts["marks"]) - paths.keys()):
        way_out = "Update this checkout: the database is ahead of it."
        found = f"{UNKNOWN}: there is no such file"
        result.append(State(migration, "fail", found, way_out, UNKNOWN))
    result += [_lock(**facts), *_kept(connection, facts, result)]
    result += [fault for item in paths.items() for fault in _faults(*item)]
    for state in result:
        state.what_to_do = connection.here(state.what_to_do)
    connection.rollback()
    return result


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


def kept(connection: Connection, facts: dict | None = None) -> Kept | None:
    """What a rollback kept here, None when nothing is kept."""
    if not (found := (facts or _facts(connection))["kept"]):
        return None
    counts = row_counts(connection, found["tables"], KEPT_SCHEMA)
    connection.rollback()
    migration, since = found.get("migration") or next(iter(files())), found.get("since") or "?"
    return Kept(migration, since, counts, found["publications"] or [])


class Estimate(int):
    """A number of rows that nobody counted."""

    def __format__(self, spec: str) -> str:
        return f"about {int(self):{spec}}"


def row_counts(
    connection: Connection, tables, schema: str = "public", at_most: int | None = 100_000
) -> dict[str, int | None]:
    """Rows by table, without those that are not there; None where this role may not see all.

    To count ten million takes seconds: where there are more than at_most, it is an Estimate.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname, reltuples::bigint, has_schema_privilege(relnamespace, 'USAGE')"
            " AND has_table_privilege(oid, 'SELECT') AND NOT row_security_active(oid)"
            " FROM pg_class WHERE relnamespace = to_regnamespace(%s) AND relname = ANY(%s)"
            " AND relkind IN ('r', 'p') ORDER BY relname",
            [schema, list(tables)],
        )
        counts: dict[str, int | None] = {}
        for table, estimate, is_seen in cursor.fetchall():
            counts[table] = None
            if is_seen:
                rows_of = sql.SQL("SELECT count(*) FROM (SELECT FROM {} LIMIT %s) AS r")
                limit = None if at_most is None else at_most + 1
                cursor.execute(rows_of.format(sql.Identifier(schema, table)), [limit])
                (counts[table],) = cursor.fetchone()
                if counts[table] == limit:
                    counts[table] = Estimate(max(estimate, limit))
    return counts


def _facts(connection: Connection) -> dict:
    """What state.sql says: marks, lock, sessions and kept."""
    ((facts,),) = rows(connection, HERE / "state.sql")
    return json.loads(facts)


def _stop(session: dict) -> str:
    return f"Wait for it, or stop it:\nSELECT pg_terminate_backend({session['pid']});"


def _verdict(migration: str, objects, is_marked: bool, session: dict | None) -> tuple:
    """The verdict, what was found beside it, and what to do."""
    there = [f"{kind} {name} of {owner}" for _, name, kind, owner in objects if kind]
    missing = [f"{kind} {name}" for kind, name, found, _ in objects if found != kind]
    invalid = [name for _, name, found, _ in objects if found == "invalid index"]
    if session:
        return RUNNING, session["who"], _stop(session)
    if is_marked and missing:
        way_out = "What is missing, and the SQL for it:\nmake validate"
        if not there:
            way_out = "An interrupted rollback leaves this; otherwise ask who dropped them. Then:"
            way_out += f"\nyoyo unmark -m {migration}"
        return OBJECTS_MISSING, _some(missing), way_out
    if is_marked:
        return APPLIED, "", None
    if not there:
        return NOT_APPLIED, "", "make migrate"
    if not missing:
        way_out = f"Prove it:\nmake validate\nWhen that passes:\nyoyo mark -m {migration}"
        return NOT_MARKED, "an apply was interrupted after its commit", way_out
    indexes = [name for _, name, found, _ in objects if found in ("index", "invalid index")]
    if invalid and len(indexes) == len(there):
        drops = (f"DROP INDEX CONCURRENTLY public.{name};\n" for name in indexes)
        way_out = f"Drop what is there, then apply again:\n{''.join(drops)}make migrate"
        return HALF_BUILT, f"{_some(there)}, and no mark", way_out
    found = f"{len(there)} of its {len(objects)} objects ({_some(there)}), and no mark"
    way_out = "No run of yoyo leaves this: rename what is in the way, or restore a backup."
    return PARTLY_THERE, found, way_out


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")


def _lock(lock: dict | None, sessions: list[dict], **_) -> State:
    """The verdict on the row of yoyo_lock: is somebody at work, or was it left behind?"""
    if not lock:
        return State("yoyo lock", "pass", "free", None, "free")
    process, since = lock["pid"], lock["since"]
    for session in sessions:
        if not session["name"].endswith("_kept.sql"):
            found = f"held by process {process} since {since}: {session['who']}"
            return State("yoyo lock", "fail", found, "Wait for it.", RUNNING)
    found = f"left behind by process {process} at {since}: nobody of yoyo is at work"
    way_out = f"Make sure that the process is gone (ps -p {process} where it ran), then:\n"
    return State("yoyo lock", "fail", found, f"{way_out}yoyo break-lock", LEFT_BEHIND)


def _kept(connection: Connection, facts: dict, states: list[State]) -> list[State]:
    """What is kept, and how it comes back: while its migration is the last that is applied."""
    for session in facts["sessions"]:
        if session["name"].endswith("_kept.sql"):
            found = f"{RUNNING}: {session['who']}"
            return [State("kept tables", "fail", found, _stop(session), RUNNING)]
    if not (tables := kept(connection, facts)):
        return []
    own = [s.verdict for s in states if s.path and s.check <= tables.migration]
    later = [s.verdict for s in states if s.path and s.check > tables.migration]
    steps = ["make migrate"] * any(verdict != APPLIED for verdict in own)
    steps += [*["make rollback"] * later.count(APPLIED), "make restore-kept"]
    steps += ["make migrate"] * bool(later)
    if any((new := row_counts(connection, tables.counts)).values()):
        steps = [f"The new ones hold {listed(new)}. Look at both."]
    steps += ["Or, to give them up:", "make drop-kept"]
    result = [State("kept tables", "warn", str(tables), "\n".join(steps))]
    for publication in tables.publications:
        found = f"publication {publication}: a change of a kept row stops the subscriber"
        way_out = f"ALTER PUBLICATION {publication} DROP TABLE …, or move them there too."
        result.append(State("kept tables", "warn", found, way_out))
    return result


def _faults(migration: str, path: Path) -> list[State]:
    """Files that are missing, or are not what was reviewed."""
    checksums = path.parent / CHECKSUMS
    lines = checksums.read_text(encoding="utf-8").splitlines() if checksums.exists() else []
    result = []
    for file in (path, path.with_suffix(".rollback.sql")):
        if not file.exists():
            found = f"rollback file missing: {file.name}"
            way_out = "git restore it: without it yoyo rollback drops nothing and says nothing."
            result.append(State(migration, "fail", found, way_out))
        elif f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}" not in lines:
            found = f"file changed: {file.name} is not what {CHECKSUMS} lists"
            way_out = "If it was applied anywhere, git restore it and write a new migration. Else:"
            result.append(State(migration, "fail", found, f"{way_out}\nmake renew"))
    return result
