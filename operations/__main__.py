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
from datetime import datetime, timezone
from pathlib import Path

import psycopg2

from common.database import PROJECT, Unusable
from common.report import exit_code, listen_to_signals
from validation import __main__ as validation
from validation import expectation, state

from .target import HERE, Failed, Target

BACKUPS = PROJECT / "backups"
MANIFEST = "export.json"
LOCK_WAIT = "--lock-wait-timeout=10s"  # of pg_dump, behind somebody's exclusive lock


def migrate(target: Target, arguments) -> int:
    """check, back up, rehearse, apply and validate; stops at the first that fails"""

    def check(title: str, run, **options) -> int:
        print(title, flush=True)
        return run(target.connection, argparse.Namespace(format="table", **options))

    try:
        code = check("Before the migration", validation.check)
        states = state.states(target.connection)
        if not code and any(s.verdict == state.NOT_APPLIED for s in states):
            print("\nBackup", flush=True)
            backup_db(target, arguments)
            code = check("\nDry run", validation.dry_run.run, brief=True, rollback=False)
            if not code:
                print("\nyoyo apply", flush=True)
                began = time.monotonic()
                target.yoyo("apply")
                print(f"applied in {time.monotonic() - began:.1f} s")
        code = code or check("\nAfter the migration", validation.validate)
    except Failed:
        check("\nWhere things stand", validation.show_state)
        raise
    if code:
        check("\nWhere things stand", validation.show_state)
    elif kept := state.kept(target.connection):
        print(f"Kept by a rollback: {kept}. They come back with:")
        print(f"  {target.connection.ours('restore-kept')}")
    return code


def rollback(target: Target, arguments) -> None:
    """take the last migration back; tables with rows are kept in schema property_v2_kept"""
    states = state.states(target.connection)
    for s in states:
        if s.status == "fail":
            raise Unusable(f"Not rolled back. {s.check} is {s.found}. {s.what_to_do}")
    applied = [s for s in states if s.verdict == state.APPLIED]
    if not applied:
        print("Nothing to roll back: no migration is applied.")
        return
    kept = [s.found for s in states if s.check == "kept tables"]
    target.yoyo("rollback")
    states = state.states(target.connection)
    (left,) = (s for s in states if s.check == applied[-1].check)
    if left.verdict != state.NOT_APPLIED:
        raise Failed(f"{left.check} is {left.found}. {left.what_to_do}")
    print(f"{left.check} is rolled back.")
    for s in states:
        if s.check == "kept tables" and s.found not in kept:
            print(f"Kept in schema {state.KEPT_SCHEMA}: {s.found}\n  {s.what_to_do}")


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
    began = time.monotonic()
    try:
        target.execute("Restoring", "restore_kept.sql")
    except psycopg2.errors.DatatypeMismatch as error:
        print(f"{error.diag.message_primary}.\n{error.diag.message_detail}.")
        print("So the rows are copied; the kept tables stay until you drop them:")
        print(f"  {target.connection.ours('drop-kept')}", flush=True)
        target.execute("Copying", "copy_kept.sql")
    print(f"Back are {state.listed(kept.counts)}, in {time.monotonic() - began:.1f} s.")
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
    target.execute("Dropping", "drop_kept.sql")
    print(f"Dropped {state.listed(kept.counts)}.")


def _kept(target: Target) -> state.Kept:
    kept = state.kept(target.connection)
    target.connection.rollback()
    if not kept:
        raise Unusable("Nothing is kept here: no rollback has set tables with rows aside.")
    return kept


def backup_db(target: Target, arguments) -> None:
    """a full dump in the custom format to backups/"""
    programs = target.programs
    with _new_backup(target, ".dump") as path:
        target.run("Backup", programs / "pg_dump", LOCK_WAIT, "-Fc", "-f", path)
        reads = (programs / "pg_restore", "--list", path)
        target.run("Reading the backup", *reads, here=False)


def export_data(target: Target, arguments) -> None:
    """the rows of the tables to backups/, in one snapshot, with whose they are and how many"""
    programs = target.programs
    connection = target.connection
    applied = [s.check for s in state.states(connection) if s.verdict == state.APPLIED]
    try:
        with connection.cursor() as cursor:
            # While this transaction is open, its snapshot is that of pg_dump too.
            cursor.execute(
                "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;"
                "SET LOCAL idle_in_transaction_session_timeout = 0; SELECT pg_export_snapshot()"
            )
            (snapshot,) = cursor.fetchone()
        counts = state.row_counts(connection, expectation.tables())
        if hidden := [table for table, count in counts.items() if count is None]:
            raise Unusable(
                f"Not exported: this role may not read all rows of {hidden[0]} (row security, or "
                "no SELECT). Export as a role that may."
            )
        if not any(counts.values()):
            print("Nothing to export: the tables are " + ("empty." if counts else "not there."))
            return
        print("Exporting", state.listed(counts), flush=True)
        with _new_backup(target, ".data") as path:
            target.run(
                "Export", programs / "pg_dump", LOCK_WAIT, "-Fd", "-j2", "--data-only",
                "--snapshot", snapshot, *(f"--table=public.{t}" for t in counts), "-f", path,
            )  # fmt: skip
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
    if any(there.values()):
        raise Unusable(f"Not imported: the tables are not empty, they hold {state.listed(there)}.")
    with target.connection.cursor() as cursor:
        cursor.execute(
            "SELECT format('GRANT SELECT (id) ON users TO %I;', current_user)"
            " WHERE NOT has_column_privilege(to_regclass('public.users'), 'id', 'SELECT')"
        )
        if grant := cursor.fetchone():
            raise Unusable(f"An import looks for users: {grant[0]}")
    target.connection.rollback()
    programs = target.programs
    print(
        f"Importing {os.path.relpath(path)}: {state.listed(counts)}\n"
        f"exported at {export['exported_at']} from {export['host']}, database {export['database']}."
        "\nUntil it is done, nobody reads the tables, and a DELETE of a user who is named in them "
        "waits.", flush=True,
    )  # fmt: skip
    began = time.monotonic()
    restore = [programs / "pg_restore", "--data-only", "-f", "-", path]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(restore, **pipes) as rows:
        try:
            output = target.run(
                "Import", programs / "psql", "-X", "-q", "-At", "-1", "-v", "ON_ERROR_STOP=1",
                "-v", f"counts={json.dumps(counts)}", "-f", HERE / "transaction.sql",
                "-f", HERE / "import_data.before.sql", "-f", "-",
                "-f", HERE / "import_data.after.sql", stdin=rows.stdout,
            )  # fmt: skip
        except BaseException as error:
            rows.stdout.close()
            rows.terminate()
            reason = rows.stderr.read().strip()
            if isinstance(error, Failed) and reason and "Broken pipe" not in reason:
                said = " ".join(reason.split())
                raise Failed(f"Import failed, nothing was imported: {said}") from error
            raise
    print(f"Imported in {time.monotonic() - began:.1f} s.")
    orphans = int(output.rpartition("without author: ")[2].split()[0])
    if orphans:
        print(f"{orphans:,} properties came without an author, whose user is gone.")


def sample_data(target: Target, arguments) -> None:
    """N bilingual listings in place of the rows of the tables, where that is allowed"""
    print(target.run(
        "Sample data", target.programs / "psql", "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1",
        "-v", f"n={arguments.properties}", "-v", f"seed={arguments.seed}",
        "-v", f"embeddings={arguments.embeddings}", "-f", HERE / "sample_data.sql",
    ), end="")  # fmt: skip


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number of properties, 1 or more")
    return int(text)


def _whose(target: Target) -> dict[str, str]:
    system, database = target.identity
    return {"system_identifier": system, "host": target.connection.info.host, "database": database}


def _export(target: Target, source: str | None) -> tuple[Path, dict]:
    """The export of that name, or the newest of this very database; and its manifest."""
    if source:
        return Path(source), _manifest(Path(source))
    exports = []
    for path in BACKUPS.glob("*.data"):
        with contextlib.suppress(Unusable):
            exports.append((path, _manifest(path)))
    whose = _whose(target).items()
    exports = [export for export in exports if whose <= export[1].items()]
    if not exports:
        raise Unusable(
            f"There is no export of this database ({target.name}) in backups/: name another with "
            "--from (EXPORT=... with make)."
        )
    return max(exports, key=lambda export: export[1]["exported_at"])


def _manifest(path: Path) -> dict:
    keys = {"system_identifier", "host", "database", "exported_at", "row_counts", "migrations"}
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        datetime.fromisoformat(manifest["exported_at"])
        if manifest.keys() >= keys and sum(manifest["row_counts"].values()):
            return manifest
    raise Unusable(f"{path} is no export: {MANIFEST} is missing in it or cut. Name another.")


@contextlib.contextmanager
def _new_backup(target: Target, suffix: str):
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
    verbs = (migrate, rollback, restore_kept, drop_kept, backup_db, export_data, import_data,
             sample_data)  # fmt: skip
    for verb in verbs:
        text = verb.__doc__.splitlines()[0]
        sub = commands.add_parser(verb.__name__.replace("_", "-"), help=text, description=text)
        sub.add_argument("-d", "--database", metavar="URL", help="default: that of yoyo.ini")
        sub.set_defaults(run=verb)
        if verb is import_data:
            sub.add_argument("--from", dest="source", metavar="FOLDER", help="an export")
        if verb is drop_kept:
            sub.add_argument("--yes", action="store_true", help="do not ask")
        if verb is sample_data:
            sub.add_argument("properties", metavar="N", type=_positive, help="how many properties")
            sub.add_argument("--seed", type=int, default=1, help="the same seed, the same rows")
            sub.add_argument(
                "--embeddings", action="store_true", help="one for every tenth property"
            )
    arguments = parser.parse_args(argv)
    otherwise = []

    def command() -> int | None:
        otherwise.append("Look at -d.")
        target = Target(arguments.database)
        otherwise[0] = f"{target.connection.ours('state')} says where things stand."
        try:
            return arguments.run(target, arguments)
        except psycopg2.errors.LockNotAvailable as error:  # to look was in vain already
            target.connection.rollback()
            raise Unusable(f"The database refused: {target.reason(error, reads=True)}") from error

    return exit_code(command, lambda: otherwise[0])


if __name__ == "__main__":
    listen_to_signals()
    sys.exit(main())
