"""Backs up, migrates, exports, rolls back and imports.

Exit codes: 0 all well, 1 a check failed, 2 could not run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

from validation import state
from validation.__main__ import main as validation
from validation.database import PROJECT, Unusable, sentence
from validation.report import exit_code

from .target import Failed, Target

HERE = Path(__file__).resolve().parent
BACKUPS = PROJECT / "backups"
COUNTS = "row_counts.json"
TABLES = (
    "amenities", "amenity_translations", "policies", "policy_translations",
    "properties", "property_translations",
)  # fmt: skip
# Another one after every write to the table; the rollback compares it under its lock.
FINGERPRINT = "SELECT count(*), bit_xor(hashtextextended(id::text || ' ' || xmin::text, 0)) FROM {}"


def backup_db(target: Target, arguments) -> None:
    """a full dump in the custom format to backups/"""
    with _new_backup(target, ".dump") as path:
        target.run("Backup", target.program("pg_dump"), "-Fc", "-f", path)
        target.run("Reading the backup", target.program("pg_restore"), "--list", path)


def export_data(target: Target, arguments) -> None:
    """the rows of the six tables to backups/, in one snapshot, with their counts"""
    _export(target)


def _export(target: Target) -> str:
    """Exports, and returns what property_v2.exported takes: a fingerprint per table with rows."""
    counts, fingerprints = {}, {}
    try:
        with target.connection.cursor() as cursor:
            # While this transaction is open, its snapshot is that of pg_dump too.
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            cursor.execute(
                "SELECT pg_export_snapshot(), array_agg(to_regclass(t)::text) FROM unnest(%s) AS t",
                [list(TABLES)],
            )
            snapshot, there = cursor.fetchone()
            for table in filter(None, there):
                cursor.execute(FINGERPRINT.format(table))
                counts[table], fingerprints[table] = cursor.fetchone()
        if not any(counts.values()):
            print("Nothing to export: the tables are " + ("empty." if counts else "not there."))
            return ""
        print("Exporting", _listed(counts), flush=True)
        with _new_backup(target, ".data") as path:
            target.run(
                "Export", target.program("pg_dump"), "-Fd", "-j2", "--data-only",
                "--snapshot", snapshot, *(f"--table=public.{t}" for t in counts), "-f", path,
            )  # fmt: skip
            (path / COUNTS).write_text(json.dumps(counts))
    finally:
        if not target.connection.closed:
            target.connection.rollback()
    return ",".join(f"{t}:{fingerprints[t]}" for t in counts if counts[t])


def import_data(target: Target, arguments) -> None:
    """an export into the empty tables, all or nothing: the newest one, or --from"""
    exports = [Path(arguments.source)] if arguments.source else _exports(target)
    if not exports or not (exports[-1] / COUNTS).exists():
        raise Unusable(
            f"There is no export {arguments.source or f'of {target.name} in backups/'}: "
            "name one with --from (EXPORT=... with make)."
        )
    path = exports[-1]
    counts = json.loads((path / COUNTS).read_text())
    print("Importing", os.path.relpath(path), flush=True)
    began = time.monotonic()
    restore = [target.program("pg_restore"), "--data-only", "-f", "-", path]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(restore, **pipes) as rows:
        try:
            output = target.run(
                "Import", target.program("psql"), "-X", "-q", "-At", "-1", "-v", "ON_ERROR_STOP=1",
                "-v", f"counts={json.dumps(counts)}", "-f", HERE / "import_data.before.sql",
                "-f", "-", "-f", HERE / "import_data.after.sql", stdin=rows.stdout,
            )  # fmt: skip
        except Failed as failed:
            rows.stdout.close()
            reason = sentence(rows.stderr.read())
            if reason and "Broken pipe" not in reason:  # what psql missed was not sent
                raise Failed(f"Import failed, nothing was imported: {reason}") from failed
            raise
    print(f"Imported {_listed(counts)} in {time.monotonic() - began:.1f} s.")
    (orphans,) = re.findall(r"without author: (\d+)", output)
    if int(orphans):
        print(f"{int(orphans):,} properties came without an author, whose user is gone.")


def rollback(target: Target, arguments) -> None:
    """export the rows, then take the last migration back"""
    applied = [s for s in state.states(target.connection) if s.verdict == state.APPLIED]
    if not applied:
        print("Nothing to roll back.")
        return
    exported = _export(target)
    target.yoyo("rollback", *([f"property_v2.exported={exported}"] if exported else []))
    (left,) = (s for s in state.states(target.connection) if s.check == applied[-1].check)
    if left.verdict != state.NOT_APPLIED:
        raise Failed(f"{left.check} is {left.found}: {left.what_to_do}")
    print(f"{left.check} is rolled back; nothing of it is left.")
    if exported:
        suffix = os.environ.get("MAKE_SUFFIX", "")
        print(
            f"The rows come back with: make migrate{suffix} && make import-data{suffix} "
            f"EXPORT={os.path.relpath(_exports(target)[-1])}"
        )


def migrate(target: Target, arguments) -> int:
    """check, back up, rehearse, apply and validate; stops at the first that fails"""

    def check(title: str, *command: str) -> int:
        print(title, flush=True)
        return validation([*command, "-d", target.url])

    try:
        code = check("Before the migration", "pre-migration")
        states = state.states(target.connection)
        if not code and any(s.verdict == state.NOT_APPLIED for s in states):
            print("\nBackup", flush=True)
            backup_db(target, arguments)
            code = check("\nDry run", "dry-run", "--brief")
            if not code:
                print("\nyoyo apply", flush=True)
                began = time.monotonic()
                target.yoyo("apply")
                print(f"applied in {time.monotonic() - began:.1f} s")
        code = code or check("\nAfter the migration", "post-migration")
    except Failed:
        check("\nWhere things stand", "state")
        raise
    if code:
        check("\nWhere things stand", "state")
    return code


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {table}" for table, count in counts.items())


def _exports(target: Target) -> list[Path]:
    return sorted(BACKUPS.glob(f"{target.name}-*.data"))


@contextlib.contextmanager
def _new_backup(target: Target, suffix: str):
    """A path that gets its name under backups/ when it is complete, readable by its owner alone."""
    os.umask(0o077)
    BACKUPS.mkdir(exist_ok=True)
    BACKUPS.chmod(0o700)
    path = BACKUPS / f"{target.name}-{datetime.now():%Y%m%d-%H%M%S-%f}{suffix}"
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
    print(f"{os.path.relpath(path)}: {size:.1f} {unit} in {time.monotonic() - began:.1f} s")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m operations", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for verb in (migrate, backup_db, export_data, rollback, import_data):
        text = verb.__doc__.splitlines()[0]
        sub = commands.add_parser(verb.__name__.replace("_", "-"), help=text, description=text)
        sub.add_argument("-d", "--database", metavar="URL", help="default: that of yoyo.ini")
        sub.set_defaults(run=verb)
        if verb is import_data:
            sub.add_argument("--from", dest="source", metavar="FOLDER", help="an export")
    arguments = parser.parse_args(argv)
    return exit_code(
        lambda: arguments.run(Target(arguments.database), arguments),
        "make state says where things stand.",
    )


if __name__ == "__main__":
    sys.exit(main())
