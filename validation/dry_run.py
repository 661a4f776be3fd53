"""Rehearses what yoyo would run, and shows what it locks of that which was there before.

After every statement the locks of its own session are read from pg_locks, as eugene
(https://github.com/kaaveland/eugene) does it.
"""

import argparse
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psycopg2
from yoyo.migrations import read_sql_migration

from common.database import Unusable, sentence
from common.report import print_json

from . import state
from .expectation import HERE

CANNOT = (
    "Not rehearsed: the commit, yoyo's bookkeeping, waits for sessions that are not here now.\n"
    "The locks were really taken, and let go at the end of the dry run."
)
NOT_TRANSACTIONAL = "not rehearsed: it runs outside a transaction, which cannot be undone"
# Indexes are locked with their tables, and say nothing more.
BEFORE = """
SELECT oid, oid::regclass::text, relfilenode FROM pg_class
WHERE relkind NOT IN ('i', 'I', 't') AND relnamespace <> 'pg_catalog'::regnamespace
"""


@dataclass
class Lock:
    """A lock on a relation that existed before, with the statement that first took it.

    Rewritten: that statement gave it a new file. It is held from then to the rehearsal's end.
    """

    relation: str
    mode: str
    blocks: str
    rewritten: bool
    held_ms: float

    def __str__(self) -> str:
        how = f"{self.mode} on {self.relation} for {self.held_ms} ms"
        return f"{how}{', rewritten' * self.rewritten}; blocks {self.blocks}"


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
    """Rehearses what `make migrate`, or with --rollback `make rollback`, would do now.

    Prints the evidence. Gives 1 when a statement fails, else 0; Unusable: a run of yoyo is at work.
    """
    files = _files(connection, arguments.rollback)
    if arguments.rollback:  # which loses no row, whatever a shell or the database says
        connection.cursor().execute("SET LOCAL property_v2.allow_data_loss = off")
    steps = rehearse(connection, files)
    if arguments.format == "json":
        print_json({"steps": [asdict(step) for step in steps], "summary": summary(steps)})
    else:
        file = None
        for step in steps:
            if arguments.brief and step.number and not (step.locks or step.error):
                continue
            if step.file != file:
                file = step.file
                print(f"{file}\n  {'#':>3}  {'ms':>7}  statement")
            print(f"  {step.number:>3}  {step.ms:>7}  {step.statement[:84]}")
            print(*(f"{'':<16}→ {line}\n" for line in map(str, step.locks)), sep="", end="")
            if step.error:
                print(f"{'':<16}→ {step.error}")
        print(summary(steps))
    return 1 if any(step.error for step in steps) else 0


def rehearse(connection: psycopg2.extensions.connection, files: list[Path]) -> list[Step]:
    """Runs the statements of files in one transaction, up to the first that fails, and undoes it.

    Gives the statements that ran, with what each locked of that which was there before.
    """
    steps, strongest = [], {}
    with connection.cursor() as cursor:
        cursor.execute(BEFORE)
        before = {oid: (name, file) for oid, name, file in cursor}
        for step, statement in _steps(files):
            steps.append(step)
            if not step.number:
                continue
            began = time.perf_counter()
            try:
                cursor.execute("SAVEPOINT step;" + statement)
            except psycopg2.Error as error:
                if connection.closed:
                    raise
                step.error = sentence(error)
                break
            ended = time.perf_counter()
            step.ms = round((ended - began) * 1000, 1)
            cursor.execute((HERE / "locks.sql").read_text(encoding="utf-8"))
            locks = {relation: lock for relation, *lock in cursor}
            for oid in sorted(before.keys() & locks.keys(), key=before.get):
                strength, mode, blocks, file = locks[oid]
                if strength > strongest.get(oid, 0):
                    strongest[oid], (name, old_file) = strength, before[oid]
                    rewritten = file not in (None, old_file)
                    step.locks.append(Lock(name, mode, blocks, rewritten, ended))
    end = time.perf_counter()
    connection.rollback()
    for lock in (lock for step in steps for lock in step.locks):
        lock.held_ms = round((end - lock.held_ms) * 1000, 1)
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
    pending, kept = [s for s in states if s.verdict in wanted], state.kept(connection)
    waiting = [s.check for s in pending if kept and s.check > kept.migration]
    if waiting:
        said = "Not rehearsed, since the kept rows come first"
        print(f"{said}: {', '.join(waiting)}.", file=sys.stderr)
    return [s.path for s in pending if s.check not in waiting]


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
