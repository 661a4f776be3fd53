"""Rehearses what yoyo would run, and shows what it locks of that which was there before.

After every statement the locks of its own session are read from pg_locks, as eugene
(https://github.com/kaaveland/eugene) does it.
"""

import re
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psycopg2
from yoyo.migrations import read_sql_migration

from common.database import Connection, Unusable, sentence
from common.report import print_json

from . import state
from .expectation import HERE

CANNOT = (
    "Not rehearsed: the commit, yoyo's bookkeeping, waits for sessions that are not here now.\n"
    "The locks were really taken, and let go at the end of the dry run."
)
NOT_TRANSACTIONAL = "not rehearsed: it runs outside a transaction, which cannot be undone"


@dataclass
class Step:
    """One statement: its number in its file, first line and duration in milliseconds.

    Of a file that is not rehearsed there is one step, with number 0 and the reason as statement.
    Its locks are those on relations that existed before, of which it took the strongest: relation,
    mode, what that blocks, whether the statement gave it a new file, and for how many milliseconds
    it is held, to the rehearsal's end.
    """

    number: int
    file: str
    statement: str
    ms: float = 0.0
    locks: list[dict] = field(default_factory=list)
    error: str | None = None


def run(
    connection: Connection, format: str = "table", rollback: bool = False, brief: bool = False
) -> int:
    """run what yoyo would run, show its locks, and undo it

    That is what `make migrate`, or with rollback `make rollback`, would do now. Prints the
    evidence. Gives 1 when a statement fails, else 0; Unusable: a run of yoyo is at work.
    """
    states = state.states(connection)
    for s in states:
        if s.verdict == state.RUNNING:
            raise Unusable(f"{s.check}: {s.found}. Wait for it, then try again.")
    if rollback:  # which loses no row, whatever a shell or the database says
        connection.cursor().execute("SET LOCAL property_v2.allow_data_loss = off")
        files = [s.path.with_suffix(".rollback.sql") for s in state.to_roll_back(states)]
    else:
        pending, waiting = state.to_apply(connection, states)
        files = [s.path for s in pending]
        if waiting:
            said = "Not rehearsed, since the kept rows come first"
            print(f"{said}: {', '.join(waiting)}.", file=sys.stderr)
    steps = rehearse(connection, files)
    if format == "json":
        print_json({"steps": [asdict(step) for step in steps], "summary": summary(steps)})
    else:
        file = None
        for step in steps:
            if brief and step.number and not (step.locks or step.error):
                continue
            if step.file != file:
                file = step.file
                print(f"{file}\n  {'#':>3}  {'ms':>7}  statement")
            print(f"  {step.number:>3}  {step.ms:>7}  {step.statement[:84]}")
            for lock in step.locks:
                how = "{mode} on {relation} for {held_ms} ms".format(**lock)
                rewritten = ", rewritten" * lock["rewritten"]
                print(f"{'':<16}→ {how}{rewritten}; blocks {lock['blocks']}")
            if step.error:
                print(f"{'':<16}→ {step.error}")
        print(summary(steps))
    return 1 if any(step.error for step in steps) else 0


def rehearse(connection: Connection, files: list[Path]) -> list[Step]:
    """Runs the statements of files in one transaction, up to the first that fails, and undoes it.

    Gives the statements that ran, with what each locked of that which was there before.
    """
    steps, strongest = [], {}
    before = {oid: relation for oid, *relation in connection.look(HERE / "relations.sql")}
    with connection.cursor() as cursor:
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
            here = [lock for lock in connection.look(HERE / "locks.sql") if lock.relation in before]
            for lock in sorted(here, key=lambda lock: before[lock.relation]):
                if lock.strength > strongest.get(lock.relation, 0):
                    strongest[lock.relation], (name, file) = lock.strength, before[lock.relation]
                    step.locks.append({
                        "relation": name, "mode": lock.words, "blocks": lock.blocks,
                        "rewritten": lock.relfilenode not in (None, file), "held_ms": ended,
                    })  # fmt: skip
    end = time.perf_counter()
    connection.rollback()
    for lock in (lock for step in steps for lock in step.locks):
        lock["held_ms"] = round((end - lock["held_ms"]) * 1000, 1)
    return steps


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
