"""Migrates, rolls back, restores what a rollback kept; backs up, exports and imports.

Exit codes: 0 all well, 1 a check failed, 2 could not run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import psycopg2

from common.database import PROJECT, Unusable, sentence
from common.report import exit_code, listen_to_signals
from validation import __main__ as validation
from validation import expectation, state

from .target import HERE, Failed, Target, script

BACKUPS = PROJECT / "backups"
MANIFEST = "export.json"
IN_MANIFEST = {"system_identifier", "host", "database", "exported_at", "row_counts", "migrations"}
PSQL = ("-X", "-q", "-At", "-v", "ON_ERROR_STOP=1")


def migrate(target: Target, arguments) -> int:
    """check, back up, rehearse, apply and validate; stops at the first that fails"""

    def step(title: str, run, **options) -> int:
        print(title, flush=True)
        return run(target.connection, argparse.Namespace(format="table", **options))

    waiting = []
    try:
        code = step("Before the migration", validation.check)
        states, kept = state.states(target.connection), state.kept(target.connection)
        pending = [s.check for s in states if s.verdict == state.NOT_APPLIED and not code]
        # Kept rows come back before a later migration, which may change them.
        waiting = [name for name in pending if kept and name > kept.migration]
        if names := [name for name in pending if name not in waiting]:
            if not arguments.no_backup:
                print("\nBackup", flush=True)
                backup_db(target, arguments)
            code = step("\nDry run", validation.dry_run.run, brief=True, rollback=False)
            if not code:
                print("\nyoyo apply", flush=True)
                with _timed("applied"):
                    target.yoyo("apply", names)
        if not waiting:
            code = code or step("\nAfter the migration", validation.validate)
    except Failed:
        step("\nWhere things stand", validation.show_state)
        raise
    if code:
        step("\nWhere things stand", validation.show_state)
    else:
        if waiting:
            print(f"Not applied, since the kept rows come first: {', '.join(waiting)}.")
        _say_kept(state.states(target.connection))
    return code or int(bool(waiting))


def rollback(target: Target, arguments) -> None:
    """take the last migration back; tables with rows are kept in schema property_v2_kept"""
    states = state.states(target.connection)
    for s in states:
        if s.status == "fail":
            raise Unusable(f"Not rolled back. {s.check} is {s.found}. {s.what_to_do}")
    applied = [s.check for s in states if s.verdict == state.APPLIED]
    if not applied:
        print("Nothing to roll back: no migration is applied.")
        return
    target.yoyo("rollback", applied[-1:])
    before, states = states, state.states(target.connection)
    (left,) = (s for s in states if s.check == applied[-1])
    if left.verdict != state.NOT_APPLIED:
        raise Failed(f"{left.check} is {left.found}. {left.what_to_do}")
    print(f"{left.check} is rolled back.")
    _say_kept([s for s in states if s.found not in [b.found for b in before]])


def restore_kept(target: Target, arguments) -> int:
    """put the tables that a rollback kept in the place of the new, empty ones"""
    kept = _kept(target)
    new = state.row_counts(target.connection, kept.counts)
    if any(new.values()):
        raise Unusable(
            f"Not restored: the new tables hold {state.listed(new)}; kept are "
            f"{state.listed(kept.counts)}. Look at both, and keep one: "
            f"{target.connection.ours('drop-kept')} removes the kept ones."
        )
    with _timed(f"Back are {state.listed(kept.counts)},"):
        try:
            target.execute("Restoring", script("restore_kept.sql"))
        except Failed as failed:
            if not isinstance(failed.__cause__, psycopg2.errors.DatatypeMismatch):
                raise
            said = failed.__cause__.diag
            print(f"{said.message_primary}.\n{said.message_detail}.")
            print("So the rows are copied; the kept tables stay until you drop them:")
            print(target.connection.ours("drop-kept"), flush=True)
            target.execute("Copying", script("copy_kept.sql"))
    return validation.validate(target.connection, argparse.Namespace(format="table"))


def drop_kept(target: Target, arguments) -> None:
    """remove the tables that a rollback kept, with their rows; asks, unless --yes"""
    kept = _kept(target)
    server, database = target.connection.info.host, target.identity[1]
    question = f"Delete for good {kept}, on {server}, database {database}? yes or no: "
    if not arguments.yes:
        if not sys.stdin.isatty():
            raise Unusable(f"Not dropped: {kept}. Say --yes (YES=1 with make) to delete them.")
        if input(question).strip().lower() != "yes":
            raise Unusable("Not dropped.")
    target.execute("Dropping", script("drop_kept.sql"))
    print(f"Dropped {state.listed(kept.counts)}.")


def backup_db(target: Target, arguments) -> None:
    """a full dump in the custom format to backups/"""
    folder = target.programs
    with _new_backup(target, ".dump") as path:
        target.run("Backup", folder / "pg_dump", "-Fc", "-f", path)
        target.run("Reading the backup", folder / "pg_restore", "--list", path)


def psql(target: Target, arguments) -> None:
    """this database in the psql that fits its server"""
    program = target.programs / "psql"
    os.execve(program, [program, "-d", target.dsn], target.environment)


def programs(target: Target, arguments) -> None:
    """the folder of the psql, pg_dump and pg_restore that fit its server"""
    print(target.programs)


def export_data(target: Target, arguments) -> None:
    """the rows of the tables to backups/, in one snapshot, with whose they are and how many"""
    folder, connection = target.programs, target.connection
    applied = [s.check for s in state.states(connection) if s.verdict == state.APPLIED]
    try:
        with connection.cursor() as cursor:
            # While this transaction is open, its snapshot is that of pg_dump too.
            cursor.execute(
                "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;"
                "SET LOCAL idle_in_transaction_session_timeout = 0; SELECT pg_export_snapshot()"
            )
            (snapshot,) = cursor.fetchone()
        counts = state.row_counts(connection, expectation.tables(), at_most=None)
        if hidden := [table for table, count in counts.items() if count is None]:
            raise Unusable(
                f"Not exported: this role may not read all rows of {hidden[0]} (row security, or "
                "no SELECT). Export as a role that may."
            )
        if not any(counts.values()):
            print("Nothing to export: the tables are " + ("empty." if counts else "not there."))
            return
        print("Exporting", state.listed(counts), flush=True)
        _expect(target, counts)
        with _new_backup(target, ".data") as path:
            tables = [f"--table=public.{table}" for table in counts]
            parts = ("-Fd", "-j2", "--data-only", "--snapshot", snapshot, *tables, "-f", path)
            target.run("Export", folder / "pg_dump", *parts)
            whose = {**_whose(target), "migrations": applied, "row_counts": counts}
            whose["exported_at"] = datetime.now(timezone.utc).isoformat()
            (path / MANIFEST).write_text(json.dumps(whose, indent=2))
    finally:
        with contextlib.suppress(psycopg2.Error):  # it may be lost, which is said already
            connection.rollback()


def import_data(target: Target, arguments) -> None:
    """an export into the empty tables, all or nothing: the newest of this database, or --from"""
    path, export = _export(target, arguments.source)
    counts = export["row_counts"]
    there = state.row_counts(target.connection, counts)
    target.connection.rollback()
    if any(there.values()):
        raise Unusable(f"Not imported: the tables are not empty, they hold {state.listed(there)}.")
    for (grant,) in target.look(
        "SELECT format('GRANT SELECT (id) ON users TO %I;', current_user)"
        " WHERE NOT has_column_privilege(to_regclass('public.users'), 'id', 'SELECT')"
    ):
        raise Unusable(f"An import looks for users: {grant}")
    folder = target.programs
    print(
        f"Importing {os.path.relpath(path)}: {state.listed(counts)}\n"
        f"exported at {export['exported_at']} from {export['host']}, database {export['database']}."
        "\nUntil it is done, nobody reads the tables, and a DELETE of a user who is named in them "
        "waits.", flush=True,
    )  # fmt: skip
    _expect(target, counts)
    files = (HERE / "import_data.before.sql", "-", HERE / "import_data.after.sql")
    import_them = [*PSQL, "-1", "-v", f"counts={json.dumps(counts)}"]
    import_them += [option for file in files for option in ("-f", file)]
    read = [folder / "pg_restore", "--data-only", "-f", "-", path]
    pipe = subprocess.PIPE
    with _timed("Imported"), subprocess.Popen(read, stdout=pipe, stderr=pipe, text=True) as rows:
        try:
            output = target.run("Import", folder / "psql", *import_them, stdin=rows.stdout)
        except Failed as failed:
            rows.stdout.close()
            rows.terminate()
            said = sentence(rows.stderr.read())
            if not said or "Broken pipe" in said:
                raise
            raise Failed(f"Import failed, nothing was imported: {said}.") from failed
        finally:
            rows.terminate()
    orphans = int(output.rpartition("without author: ")[2].split()[0])
    if orphans:
        print(f"{orphans:,} properties came without an author, whose user is gone.")


def sample_data(target: Target, arguments) -> None:
    """N bilingual listings in place of the rows of the tables, where that is allowed"""
    given = {"n": arguments.properties, "seed": arguments.seed, "embeddings": arguments.embeddings}
    values = [option for name in given for option in ("-v", f"{name}={given[name]}")]
    program, file = target.programs / "psql", HERE / "sample_data.sql"
    print(target.run("Sample data", program, *PSQL, *values, "-f", file), end="")


@contextlib.contextmanager
def _timed(done: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    print(f"{done} in {time.monotonic() - began:.1f} s", flush=True)


def _kept(target: Target) -> state.Kept:
    if not (kept := state.kept(target.connection)):
        raise Unusable("Nothing is kept here: no rollback has set tables with rows aside.")
    return kept


def _say_kept(states: list[state.State]) -> None:
    for s in states:
        if s.check == "kept tables":
            print(f"Kept in schema {state.KEPT_SCHEMA}: {s.found}\n{s.what_to_do}")


def _expect(target: Target, counts: dict[str, int]) -> None:
    """Tells progress.sql how many rows are to come."""
    target.look("SELECT set_config('property_v2.row_counts', %s, false)", json.dumps(counts))


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number of properties, 1 or more")
    return int(text)


def _whose(target: Target) -> dict[str, str]:
    system, database = target.identity
    return {"system_identifier": system, "host": target.connection.info.host, "database": database}


def _export(target: Target, source: str | None) -> tuple[Path, dict]:
    """The export of that name, or the newest of this very database; and its manifest."""
    whose = {} if source else _whose(target)
    exports = []
    for path in [Path(source)] if source else BACKUPS.glob("*.data"):
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
            manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
            if manifest.items() >= whose.items() and manifest.keys() >= IN_MANIFEST:
                at = datetime.fromisoformat(manifest["exported_at"])
                exports += [(at, path, manifest)] * (sum(manifest["row_counts"].values()) > 0)
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
    os.umask(0o077)
    try:
        BACKUPS.mkdir(exist_ok=True)
        BACKUPS.chmod(0o700)
    except OSError as error:
        raise Unusable(f"{BACKUPS} cannot be used ({error.strerror}): give it to you.") from error
    path = BACKUPS / f"{target.name}-{datetime.now(timezone.utc):%Y%m%dT%H%M%S.%fZ}{suffix}"
    partial = path.with_name(f"{path.name}.partial")
    began = time.monotonic()
    try:
        yield partial
        partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        partial.unlink(missing_ok=True)
    size = sum(file.stat().st_size for file in [path, *path.glob("*")] if file.is_file())
    size, unit = (size / 1e3, "kB") if size < 1e6 else (size / 1e6, "MB")
    print(f"{shlex.quote(os.path.relpath(path))}: {size:.1f} {unit}"
          f" in {time.monotonic() - began:.1f} s")  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m operations", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    subs = {}
    for verb in (migrate, rollback, restore_kept, drop_kept, backup_db, export_data, import_data,
                 sample_data, psql, programs):  # fmt: skip
        name, text = verb.__name__.replace("_", "-"), verb.__doc__
        subs[verb] = commands.add_parser(name, help=text, description=text)
        subs[verb].add_argument("-d", "--database", metavar="URL", help="default: that of yoyo.ini")
        subs[verb].set_defaults(run=verb)
    subs[migrate].add_argument("--no-backup", action="store_true", help="one was made otherwise")
    subs[import_data].add_argument("--from", dest="source", metavar="FOLDER", help="an export")
    subs[drop_kept].add_argument("--yes", action="store_true", help="do not ask")
    sample = subs[sample_data].add_argument
    sample("properties", metavar="N", type=_positive, help="how many properties")
    sample("--seed", type=int, default=1, help="the same seed, the same rows")
    sample("--embeddings", action="store_true", help="one for every tenth property")
    arguments = parser.parse_args(argv)
    otherwise = ["Look at -d."]

    def command() -> int | None:
        target = Target(arguments.database)
        otherwise[0] = f"{target.connection.ours('state')} says where things stand."
        try:
            target.connection.on_a_cluster(arguments.run.__name__)
            return arguments.run(target, arguments)
        except psycopg2.errors.LockNotAvailable as error:  # to look was in vain already
            target.connection.rollback()
            raise target.waited(f"The database refused: {sentence(error)}") from error

    return exit_code(command, lambda: otherwise[0])


if __name__ == "__main__":
    listen_to_signals()
    sys.exit(main())
