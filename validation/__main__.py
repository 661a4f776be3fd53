"""Checks a database before and after the migration.

Exit codes: 0 all well, 1 a check failed, 2 could not run.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path

from common.database import connect
from common.report import Report, Result, exit_code, listen_to_signals

from . import checks, dry_run, monitor, queries, state


def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    sys.stdout.reconfigure(errors="replace")  # a terminal may know no arrows

    def command() -> int:
        with contextlib.closing(connect(arguments.database)) as connection:
            return arguments.run(connection, arguments)

    return exit_code(command, lambda: "Nothing was changed.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m validation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, run, help_text: str):
        sub = commands.add_parser(name, help=help_text, description=help_text)
        sub.add_argument("-d", "--database", metavar="URL", help="default: that of yoyo.ini")
        sub.add_argument("--format", choices=("table", "json"), default="table")
        sub.set_defaults(run=run)
        return sub

    command("check", check, "may the migrations be applied here?")
    command("validate", validate, "is the schema what the specification says?")
    command("state", show_state, "where does each migration stand, and what is to do?")
    rehearsal = command(
        "dry-run", dry_run.run, "run what yoyo would run, show its locks, and undo it"
    )
    rehearsal.add_argument("--rollback", action="store_true", help="what yoyo rollback would run")
    rehearsal.add_argument("--brief", action="store_true", help="only statements with locks")
    command("monitor", monitor.run, "sizes; index use; slow statements; locks")
    reference = command("queries", queries.run, "explain and time the reference queries")
    reference.add_argument("files", metavar="FILE", nargs="*", type=Path, help="only these")
    return parser


def check(connection, arguments) -> int:
    report = Report(arguments.format)
    states = state.states(connection)
    if all(s.status == "pass" for s in states):
        report.add([Result(s.check, s.status, s.found) for s in states])
        if arguments.format == "table":
            print("Nothing is left to apply.")
            return 0
        return report.close()
    for s in states:
        if s.verdict == state.NOT_APPLIED:
            report.add([Result(s.check, "pass", s.found)])
            report.add([Result("names", "pass", f"all {len(s.objects)} are free")])
        elif s.verdict == state.PARTLY_THERE:
            way_out = "Rename it, or see whether this is the right database."
            for found in (f"{kind} {name} of {o}" for _, name, kind, o in s.objects if kind):
                report.add([Result("names", "fail", f"{found} is in the way", way_out)])
        else:
            report.add([s])
    for results in checks.run(connection, "check"):
        report.add(results)
    return report.close()


def validate(connection, arguments) -> int:
    report = Report(arguments.format)
    for results in checks.run(connection, "validate"):
        report.add(results)
    return report.close()


def show_state(connection, arguments) -> int:
    report = Report(arguments.format)
    report.add(state.states(connection))
    if arguments.format == "json":
        report.close()
    return 0 if all(s.status == "pass" for s in report.results) else 1


if __name__ == "__main__":
    listen_to_signals()
    sys.exit(main())
