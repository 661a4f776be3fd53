"""Where each migration stands, by the catalog, yoyo's tables and the sessions at work.

Beside the migrations: their files, yoyo's lock, and the tables that a rollback kept.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from yoyo import read_migrations

from common.database import Connection, Unusable, sources
from common.report import Result

from . import expectation
from .expectation import HERE

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


def states(connection: Connection) -> list[State]:
    """One verdict per migration of the folder, per fault of a file, for the lock, and what is kept.

    Unusable: there are no migrations in the folder that yoyo.ini names, or this is a worker.
    """
    connection.on_a_cluster("state")
    paths, facts, objects = files(), _facts(connection), expectation.objects(connection)
    of_kept = [s for s in facts["sessions"] if s["name"].endswith("_kept.sql")]
    of_yoyo = [s for s in facts["sessions"] if s not in of_kept]
    result = []
    for migration, path in paths.items():
        made = tuple(objects.get(migration, ()))
        names = (migration, f"{migration}.rollback")
        session = next((s for s in of_yoyo if s["name"] in names), None)
        verdict, detail, way_out = _verdict(migration, made, migration in facts["marks"], session)
        found = f"{verdict}: {detail}" if detail else verdict
        status = STATUS.get(verdict, "fail")
        result.append(State(migration, status, found, way_out, verdict, made, path))
    for migration in sorted(set(facts["marks"]) - paths.keys()):
        way_out = "Update this checkout: the database is ahead of it."
        found = f"{UNKNOWN}: there is no such file"
        result.append(State(migration, "fail", found, way_out, UNKNOWN))
    result.append(_lock(facts["lock"], of_yoyo))
    if of_kept:
        found = f"{RUNNING}: {of_kept[0]['who']}"
        result.append(State("kept tables", "fail", found, _stop(of_kept[0]), RUNNING))
    else:
        result += [*_kept(connection, kept(connection, facts), result)]
    result += [fault for item in paths.items() for fault in _faults(*item)]
    for state in result:
        state.what_to_do = connection.here(state.what_to_do)
    return result


def to_apply(connection: Connection, states: list[State]) -> tuple[list[State], list[str]]:
    """The migrations that an apply would run, and the names of those that wait for kept rows.

    Kept rows come back before a later migration, which may change them.
    """
    missing = (NOT_APPLIED, NOT_MARKED, PARTLY_THERE)
    pending, tables = [s for s in states if s.verdict in missing], kept(connection)
    waiting = [s.check for s in pending if tables and s.check > tables["migration"]]
    return [s for s in pending if s.check not in waiting], waiting


def to_roll_back(states: list[State]) -> list[State]:
    """The migration that yoyo would take back: the last one that it has marked, or none."""
    return [s for s in states if s.verdict in (APPLIED, OBJECTS_MISSING)][-1:]


def files() -> dict[str, Path]:
    """The migrations of the folder by id, in the order of their apply; Unusable: there are none."""
    folders = sources()
    paths = {m.id: Path(m.path) for m in read_migrations(*folders)}
    if not paths:
        raise Unusable(f"There are no migrations in {folders[0]}: look at sources in yoyo.ini.")
    return paths


def listed(counts: dict[str, int | str | None]) -> str:
    """500 properties, 3 amenities; an unknown number of rows as ?."""
    seen = {t: f"{n:,}" if isinstance(n, int) else n or "?" for t, n in counts.items()}
    return ", ".join(f"{count} {table}" for table, count in seen.items())


def kept(connection: Connection, facts: dict | None = None) -> dict | None:
    """What state.sql says of tables that a rollback set aside, and their rows in words, or None."""
    if not (found := (facts or _facts(connection))["kept"]):
        return None
    rows = listed(row_counts(connection, found["tables"], KEPT_SCHEMA))
    return {"migration": next(iter(files())), **found, "rows": rows}


def row_counts(
    connection: Connection, tables: Iterable[str], schema: str = "public", at_most: int = 100_000
) -> dict[str, int | str | None]:
    """Rows by table, without those that are not there; None where this role may not see all.

    To count ten million takes seconds: more than at_most (0: no limit) are "about 10,000,000".
    """
    given = {"tables": ",".join(tables), "schema": schema, "at_most": str(at_most or "")}
    return dict(connection.look(HERE / "row_counts.sql", **given))


def _facts(connection: Connection) -> dict:
    """What state.sql says: marks, lock, sessions and kept."""
    return json.loads(connection.look(HERE / "state.sql")[0].state)


def _stop(session: dict) -> str:
    return f"Wait for it, or stop it:\nSELECT pg_terminate_backend({session['pid']});"


def there(objects: Iterable[tuple]) -> list[str]:
    """What is there of a migration, or in its way."""
    return [f"{kind} {name} of {owner}" for _, name, kind, owner in objects if kind]


def _verdict(migration: str, objects: tuple, is_marked: bool, session: dict | None) -> tuple:
    """The verdict, what was found beside it, and what to do."""
    found = there(objects)
    missing = [f"{kind} {name}" for kind, name, found_kind, _ in objects if found_kind != kind]
    kinds = {kind for _, _, kind, _ in objects if kind}
    if session:
        return RUNNING, session["who"], _stop(session)
    if is_marked and missing:
        way_out = "What is missing, and the SQL for it:\nmake validate"
        if not found:
            way_out = "An interrupted rollback leaves this; otherwise ask who dropped them. Then:"
            way_out += f"\nyoyo unmark -m {migration}"
        return OBJECTS_MISSING, _some(missing), way_out
    if is_marked:
        return APPLIED, "", None
    if not found:
        return NOT_APPLIED, "", "make migrate"
    if not missing:
        way_out = f"Prove it:\nmake validate\nWhen that passes:\nyoyo mark -m {migration}"
        return NOT_MARKED, "an apply was interrupted after its commit", way_out
    if "invalid index" in kinds and kinds <= {"index", "invalid index"}:
        indexes = (name for _, name, kind, _ in objects if kind)
        drops = "".join(f"DROP INDEX CONCURRENTLY public.{name};\n" for name in indexes)
        way_out = f"Drop what is there, then apply again:\n{drops}make migrate"
        return HALF_BUILT, f"{_some(found)}, and no mark", way_out
    way_out = "No run of yoyo leaves this: rename what is in the way, or restore a backup."
    some = f"{len(found)} of its {len(objects)} objects ({_some(found)}), and no mark"
    return PARTLY_THERE, some, way_out


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")


def _lock(lock: dict | None, sessions: list[dict]) -> State:
    """The verdict on the row of yoyo_lock: is somebody at work, or was it left behind?"""
    if not lock:
        return State("yoyo lock", "pass", "free", None, "free")
    process, since = lock["pid"], lock["since"]
    if sessions:
        found = f"held by process {process} since {since}: {sessions[0]['who']}"
        return State("yoyo lock", "fail", found, "Wait for it.", RUNNING)
    found = f"left behind by process {process} at {since}: nobody of yoyo is at work"
    way_out = f"Make sure that the process is gone (ps -p {process} where it ran), then:\n"
    return State("yoyo lock", "fail", found, f"{way_out}yoyo break-lock", LEFT_BEHIND)


def _kept(connection: Connection, tables: dict | None, states: list[State]) -> Iterator[State]:
    """What is kept, and how it comes back: while its migration is the last that is applied."""
    if not tables:
        return
    own = [s.verdict for s in states if s.path and s.check <= tables["migration"]]
    later = [s.verdict for s in states if s.path and s.check > tables["migration"]]
    steps = ["make migrate"] * any(verdict != APPLIED for verdict in own)
    steps += [*["make rollback"] * later.count(APPLIED), "make restore-kept"]
    steps += ["make migrate"] * bool(later)
    if any((new := row_counts(connection, tables["tables"])).values()):
        steps = [f"The new ones hold {listed(new)}. Look at both."]
    steps += ["Or, to give them up:", "make drop-kept"]
    yield State("kept tables", "warn", "{rows} since {since}".format(**tables), "\n".join(steps))
    for publication in tables["publications"]:
        found = f"publication {publication}: a change of a kept row stops the subscriber"
        way_out = f"ALTER PUBLICATION {publication} DROP TABLE …, or move them there too."
        yield State("kept tables", "warn", found, way_out)


def _faults(migration: str, path: Path) -> Iterator[State]:
    """Files that are missing, or are not what was reviewed."""
    checksums = path.parent / CHECKSUMS
    lines = checksums.read_text("utf-8").splitlines() if checksums.exists() else []
    for file in (path, path.with_suffix(".rollback.sql")):
        if not file.exists():
            found = f"rollback file missing: {file.name}"
            way_out = "git restore it: without it yoyo rollback drops nothing and says nothing."
            yield State(migration, "fail", found, way_out)
        elif checksum(file) not in lines:
            found = f"file changed: {file.name} is not what {CHECKSUMS} lists"
            way_out = "If it was applied anywhere, git restore it and write a new migration. Else:"
            yield State(migration, "fail", found, f"{way_out}\nmake renew")


def checksum(path: Path) -> str:
    """The line of SHA256SUMS for a file."""
    return f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}"
