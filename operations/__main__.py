"""Migrates, rolls back, restores what a rollback kept; backs up, exports and imports.

Exit codes: 0 all well, 1 a check failed, 2 could not run.
"""

import contextlib
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import psycopg2

from common.database import PROJECT, Unusable, interrupted, sentence
from common.report import commands, exit_code, listen_to_signals
from validation import __main__ as validation
from validation import expectation, state

from .target import HERE, Target, script

BACKUPS = PROJECT / "backups"
MANIFEST = "export.json"


def migrate(target: Target, no_backup: bool) -> int:
    """check, back up, rehearse, apply and validate; stops at the first that fails"""

    def step(title: str, run, **options) -> int:
        print(title, flush=True)
        return run(target.connection, **options)

    try:
        code = step("Before the migration", validation.check)
        states = state.states(target.connection)
        pending, waiting = state.to_apply(target.connection, states)
        if pending and not code:
            if not no_backup:
                print("\nBackup", flush=True)
                backup_db(target)
            code = step("\nDry run", validation.dry_run.run, brief=True)
            if not code:
                print("\nyoyo apply", flush=True)
                with _timed("applied"):
                    target.yoyo("apply", [s.check for s in pending])
        if not code and not waiting:
            code = step("\nAfter the migration", validation.validate)
    except Unusable as failed:
        if not interrupted(failed):
            step("\nWhere things stand", validation.show_state)
        raise
    if code:
        step("\nWhere things stand", validation.show_state)
        return code
    if waiting:
        print(f"Not applied, since the kept rows come first: {', '.join(waiting)}.")
    _say_kept(target)
    return int(bool(waiting))


def rollback(target: Target) -> None:
    """take the last migration back; tables with rows are kept in schema property_v2_kept"""
    states = state.states(target.connection)
    for s in states:
        if s.status == "fail":
            raise Unusable(f"Not rolled back. {s.check}: {s.found}. {s.what_to_do}")
    ((schema,),) = target.connection.look("SELECT current_schema()")
    if schema != "public":  # yoyo would look for its marks there
        raise Unusable(
            f"Not rolled back. The current schema is {schema or 'none'}, not public: set the role's"
            " search_path so that public comes first."
        )
    last = [s.check for s in state.to_roll_back(states)]
    if not last:
        print("Nothing to roll back: no migration is applied.")
        return
    target.yoyo("rollback", last)
    for s in state.states(target.connection):
        if s.check in last and s.verdict != state.NOT_APPLIED:
            raise Unusable(f"{s.check}: {s.found}. {s.what_to_do}")
    print(f"{last[0]} is rolled back.")
    _say_kept(target)


def restore_kept(target: Target) -> int:
    """put the tables that a rollback kept in the place of the new, empty ones"""
    kept, way_out = _kept(target), target.connection.ours("drop-kept")
    if any((new := state.row_counts(target.connection, kept["tables"])).values()):
        raise Unusable(
            f"Not restored: the new tables hold {state.listed(new)}; kept are {kept['rows']}. Look"
            f" at both, and keep one: {way_out} removes the kept ones."
        )
    with _timed(f"Back are {kept['rows']},"):
        try:
            target.execute("Restoring", script("restore_kept.sql"))
        except Unusable as failed:
            if not isinstance(failed.__cause__, psycopg2.errors.DatatypeMismatch):
                raise
            said = failed.__cause__.diag
            print(f"{said.message_primary}.\n{said.message_detail}.\nSo the rows are copied; the "
                  f"kept tables stay until you drop them:\n{way_out}", flush=True)  # fmt: skip
            target.execute("Copying", script("copy_kept.sql"))
    return validation.validate(target.connection)


def drop_kept(target: Target, yes: bool) -> None:
    """remove the tables that a rollback kept, with their rows; asks, unless --yes"""
    kept, info = _kept(target), target.connection.info
    said = "{rows} since {since}".format(**kept)
    question = f"Delete for good {said}, on {info.host}, database {info.dbname}? yes or no: "
    if not yes and not sys.stdin.isatty():
        raise Unusable(f"Not dropped: {said}. Say --yes (YES=1 with make) to delete them.")
    if not yes and input(question).strip().lower() != "yes":
        raise Unusable("Not dropped.")
    target.execute("Dropping", script("drop_kept.sql"))
    print(f"Dropped {kept['rows']}.")


def backup_db(target: Target) -> None:
    """a full dump in the custom format to backups/"""
    with _new_backup(target, ".dump") as path:
        target.run("Backup", target.programs / "pg_dump", "-Fc", "-f", path)
        target.run("Reading the backup", target.programs / "pg_restore", "--list", path)


def psql(target: Target) -> None:
    """this database in the psql that fits its server"""
    program = target.programs / "psql"
    os.execv(program, [program, "-d", target.dsn])


def programs(target: Target) -> None:
    """the folder of the psql, pg_dump and pg_restore that fit its server"""
    print(target.programs)


def export_data(target: Target) -> None:
    """the rows of the tables to backups/, in one snapshot, with whose they are and how many"""
    folder, connection = target.programs, target.connection
    applied = [s.check for s in state.states(connection) if s.verdict == state.APPLIED]
    # While this transaction is open, its snapshot is that of pg_dump too.
    connection.cursor().execute(
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;"
        "SET LOCAL idle_in_transaction_session_timeout = 0"
    )
    ((snapshot,),) = connection.look("SELECT pg_export_snapshot()")
    counts = state.row_counts(connection, expectation.tables(), at_most=0)
    if hidden := [table for table, count in counts.items() if count is None]:
        raise Unusable(
            f"Not exported: this role may not read all rows of {hidden[0]} (row security, or no "
            "SELECT). Export as a role that may."
        )
    if not any(counts.values()):
        print("Nothing to export: the tables are " + ("empty." if counts else "not there."))
        return
    print("Exporting", state.listed(counts), flush=True)
    target.row_counts = json.dumps(counts)
    with _new_backup(target, ".data") as path:
        tables = [f"--table=public.{table}" for table in counts]
        parts = ("-Fd", "-j2", "--data-only", "--snapshot", snapshot, *tables, "-f", path)
        target.run("Export", folder / "pg_dump", *parts)
        export = {**target.whose, "migrations": applied, "row_counts": counts}
        export["exported_at"] = datetime.now(timezone.utc).isoformat()
        (path / MANIFEST).write_text(json.dumps(export, indent=2))


def import_data(target: Target, source: str | None) -> None:
    """an export into the empty tables, all or nothing: the newest of this database, or --from"""
    path, counts, whose = _export(target, source)
    folder = target.programs
    print(f"Importing {os.path.relpath(path)}: {state.listed(counts)}\n{whose}.")
    print("Until it is done, nobody reads the tables, and a DELETE of a user who is named in them "
          "waits.", flush=True)  # fmt: skip
    target.row_counts = json.dumps(counts)
    files = ("-f", HERE / "import_data.before.sql", "-f", "-", "-f", HERE / "import_data.after.sql")
    them = ("-v", f"counts={target.row_counts}", "-c", "BEGIN", *files, "-c", "COMMIT")
    read = [folder / "pg_restore", "--data-only", "-f", "-", path]
    pipe = subprocess.PIPE
    with _timed("Imported"), subprocess.Popen(read, stdout=pipe, stderr=pipe, text=True) as rows:
        try:
            print(target.psql("Import", *them, stdin=rows.stdout), end="")
        except Unusable as failed:
            rows.stdout.close()
            said = sentence(rows.stderr.read())
            if not said or "Broken pipe" in said:
                raise
            raise Unusable(f"Import failed, nothing was imported: {said}.") from failed


def sample_data(target: Target, n: int, seed: int, embeddings: bool) -> None:
    """N bilingual listings in place of the rows of the tables, where that is allowed"""
    if n < 1:
        raise Unusable(f"{n} is not a number of properties, 1 or more.")
    values = ("-v", f"n={n}", "-v", f"seed={seed}", "-v", f"embeddings={embeddings}")
    print(target.psql("Sample data", *values, "-f", HERE / "sample_data.sql"), end="")


@contextlib.contextmanager
def _timed(done: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    print(f"{done} in {time.monotonic() - began:.1f} s", flush=True)


def _kept(target: Target) -> dict:
    if not (kept := state.kept(target.connection)):
        raise Unusable("Nothing is kept here: no rollback has set tables with rows aside.")
    return kept


def _say_kept(target: Target) -> None:
    for s in state.states(target.connection):
        if s.check == "kept tables":
            print(f"Kept in schema {state.KEPT_SCHEMA}: {s.found}\n{s.what_to_do}")


def _export(target: Target, source: str | None) -> tuple[Path, dict[str, int], str]:
    """The export of that name, or the newest of this very database: where, its rows, whose."""
    exports = []
    for path in [Path(source)] if source else BACKUPS.glob("*.data"):
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError, KeyError):
            export = json.loads((path / MANIFEST).read_text("utf-8"))
            at, counts = datetime.fromisoformat(export["exported_at"]), export["row_counts"]
            whose = "exported at {exported_at} from {host}, database {database}".format(**export)
            if (source or export.items() >= target.whose.items()) and sum(counts.values()):
                exports.append((at, path, counts, whose))
    if exports:
        return max(exports)[1:]
    raise Unusable(
        f"{source} is no export: {MANIFEST} is missing in it or cut. Name another." if source else
        f"There is no export of this database ({target.name}) in backups/: name another with "
        "--from (EXPORT=... with make)."
    )  # fmt: skip


@contextlib.contextmanager
def _new_backup(target: Target, suffix: str) -> Iterator[Path]:
    """A path that gets its name under backups/ when it is complete, readable by its owner alone."""
    began = time.monotonic()
    os.umask(0o077)
    try:
        BACKUPS.mkdir(exist_ok=True)
        BACKUPS.chmod(0o700)
    except OSError as error:
        raise Unusable(f"{BACKUPS} cannot be used ({error.strerror}): give it to you.") from error
    path = BACKUPS / f"{target.name}-{datetime.now(timezone.utc):%Y%m%dT%H%M%S.%fZ}{suffix}"
    part = {"prefix": f"{path.name}.", "suffix": ".partial", "dir": BACKUPS}
    with tempfile.TemporaryDirectory(**part, ignore_cleanup_errors=True) as folder:
        yield Path(folder, path.name)
        Path(folder, path.name).rename(path)
    size = sum(file.stat().st_size for file in [path, *path.glob("*")] if file.is_file())
    size, unit = (size / 1e3, "kB") if size < 1e6 else (size / 1e6, "MB")
    print(f"{shlex.quote(os.path.relpath(path))}: {size:.1f} {unit}"
          f" in {time.monotonic() - began:.1f} s")  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    verbs = (migrate, rollback, restore_kept, drop_kept, backup_db, export_data, import_data,
             sample_data, psql, programs)  # fmt: skip
    by_name = {verb.__name__.replace("_", "-"): verb for verb in verbs}
    parser, options = commands("python -m operations", __doc__, by_name)
    options["migrate"]("--no-backup", action="store_true", help="one was made otherwise")
    options["import-data"]("--from", dest="source", metavar="FOLDER", help="an export")
    options["drop-kept"]("--yes", action="store_true", help="do not ask")
    sample = options["sample-data"]
    sample("n", metavar="N", type=int, help="how many properties")
    sample("--seed", type=int, default=1, help="the same seed, the same rows")
    sample("--embeddings", action="store_true", help="one for every tenth property")
    given = vars(parser.parse_args(argv))
    run, url = given.pop("run"), given.pop("database")
    otherwise = ["Look at -d."]

    def command() -> int | None:
        target = Target(url)
        otherwise[0] = f"{target.connection.ours('state')} says where things stand."
        try:
            target.connection.on_a_cluster(run.__name__)
            return run(target, **given)
        except psycopg2.errors.LockNotAvailable as error:  # to look was in vain already
            target.connection.rollback()
            raise target.waited(f"The database refused: {sentence(error)}") from error

    return exit_code(command, lambda: otherwise[0])


if __name__ == "__main__":
    listen_to_signals()
    sys.exit(main())
