"""Rehearses what yoyo would run, and shows what it locks of that which was there before.

After every statement the locks of its own session are read from pg_locks, as eugene
(https://github.com/kaaveland/eugene) does it.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psycopg2
from yoyo.migrations import read_sql_migration

from common.database import Unusable, sentence

from . import state
from .checks import HERE

CANNOT = (
    "Not rehearsed: the commit, yoyo's bookkeeping, waits for sessions that are not here now.\n"
    "The locks were really taken, and let go at the end of the dry run."
)
NOT_TRANSACTIONAL = "not rehearsed: it runs outside a transaction, which cannot be undone"


@dataclass
class Lock:
    """A lock on a relation that existed before, on the statement that first took it.

    Attributes:
        rewritten: whether that statement gave the relation a new file.
        held_ms: from the end of that statement to the end of the rehearsal.
    """

    relation: str
    mode: str
    blocks: str
    rewritten: bool
    held_ms: float = 0.0


@dataclass
class Step:
    """One statement: its number in its file, first line and duration in milliseconds.

    Of a file that is not rehearsed there is one step, with number 0 and the reason as statement.
    """

    number: int
    file: str
    statement: str
    ms: float = 0.0
    locks: list[Lock] = field(default_factory=list)
    error: str | None = None


def run(connection: psycopg2.extensions.connection, arguments: argparse.Namespace) -> int:
    """Rehearses `yoyo apply`, or with --rollback `yoyo rollback`, and prints the evidence.

    Returns:
        0, or 1 when a statement fails.

    Raises:
        Unusable: a run of yoyo is at work.
    """
    steps = rehearse(connection, _files(connection, arguments.rollback))
    if arguments.format == "json":
        rehearsal = {"steps": [asdict(step) for step in steps], "summary": summary(steps)}
        print(json.dumps(rehearsal, ensure_ascii=False, indent=2))
    else:
        _table(steps, arguments.brief)
    return 1 if any(step.error for step in steps) else 0


def rehearse(connection: psycopg2.extensions.connection, files: list[Path]) -> list[Step]:
    """Runs the statements of files in one transaction, up to the first that fails, and undoes it.

    Returns:
        The statements that ran, with what each locked of that which was there before.
    """
    steps, ends = [], []
    with connection.cursor() as cursor:
        try:
            # Their indexes are locked with them, and say nothing more.
            cursor.execute(
                "SELECT oid, oid::regclass::text, relfilenode FROM pg_class WHERE"
                " relkind NOT IN ('i', 'I', 't') AND relnamespace <> 'pg_catalog'::regnamespace"
            )
            before = {oid: (name, file) for oid, name, file in cursor}
            for step, statement in _steps(files):
                steps.append(step)
                ends.append(_execute(cursor, statement, step, before) if step.number else 0)
                if step.error:
                    break
        finally:
            end = time.perf_counter()
            if not connection.closed:
                connection.rollback()
    for step, ended in zip(steps, ends):
        for lock in step.locks:
            lock.held_ms = round((end - ended) * 1000, 1)
    return steps


def _files(connection, rollback: bool) -> list[Path]:
    states = state.states(connection)
    for s in states:
        if s.verdict == state.RUNNING:
            raise Unusable(f"{s.check} is {s.found}: wait for it, then try again.")
    if rollback:  # yoyo takes the last one back
        wanted = (state.APPLIED, state.OBJECTS_MISSING)
        return [s.path.with_suffix(".rollback.sql") for s in states if s.verdict in wanted][-1:]
    wanted = (state.NOT_APPLIED, state.NOT_MARKED, state.PARTLY_THERE)
    return [s.path for s in states if s.verdict in wanted]


def _steps(files: list[Path]) -> Iterator[tuple[Step, str]]:
    """The statements of the files, split as yoyo splits them."""
    for path in files:
        directives, _, statements = read_sql_migration(str(path))
        if directives.get("transactional", "true").lower() == "false":
            yield Step(0, path.name, NOT_TRANSACTIONAL), ""
            continue
        for number, statement in enumerate(statements, 1):
            lines = (line for line in statement.splitlines() if not re.match(r"\s*(--.*)?$", line))
            yield Step(number, path.name, next(lines).strip()), statement


def _execute(cursor, statement: str, step: Step, before: dict[int, tuple[str, int]]) -> float:
    """Runs a statement, notes what it locked more strongly than those before, and says its end."""
    known = _locks(cursor)
    began = time.perf_counter()
    try:
        cursor.execute("SAVEPOINT step")
        cursor.execute(statement)
    except psycopg2.Error as error:
        if cursor.connection.closed:
            raise
        step.error = sentence(error)
        return time.perf_counter()
    ended = time.perf_counter()
    step.ms = round((ended - began) * 1000, 1)
    locks = _locks(cursor)
    for oid in sorted(before.keys() & locks.keys(), key=before.get):
        strength, mode, blocks, file = locks[oid]
        if strength > known.get(oid, (0,))[0]:
            name, old_file = before[oid]
            rewritten = file not in (None, old_file)
            step.locks.append(Lock(name, mode, blocks, rewritten))
    return ended


def _locks(cursor) -> dict[int, tuple]:
    """By relation: strength, name and effect of the strongest lock of this session; its file."""
    cursor.execute((HERE / "locks.sql").read_text(encoding="utf-8"))
    return {relation: lock for relation, *lock in cursor}


def summary(steps: list[Step]) -> str:
    """What a rehearsal showed, in words."""
    if not steps:
        return "Nothing to do here."
    if steps[-1].error:
        return f"Statement {steps[-1].number} of {steps[-1].file} fails.\n{CANNOT}"
    ran = [step for step in steps if step.number]
    if not ran:
        return "Nothing of it can be rehearsed."
    count = sum(len(step.locks) for step in ran)
    return (
        f"{len(ran)} statements ran in {sum(s.ms for s in ran):.0f} ms and were undone; "
        f"{count} lock{'s' * (count != 1)} on what was there before.\n{CANNOT}"
    )


def _table(steps: list[Step], brief: bool) -> None:
    file = None
    for step in steps:
        if brief and step.number and not step.locks and not step.error:
            continue
        if step.file != file:
            file = step.file
            print(f"{file}\n  {'#':>3}  {'ms':>7}  statement")
        print(f"  {step.number:>3}  {step.ms:>7}  {step.statement[:84]}")
        for lock in step.locks:
            print(
                f"  {'':>3}  {'':>7}  → {lock.mode} on {lock.relation} for {lock.held_ms} ms"
                f"{', rewritten' * lock.rewritten}; blocks {lock.blocks}"
            )
        if step.error:
            print(f"  {'':>3}  {'':>7}  → {step.error}")
    print(summary(steps))
