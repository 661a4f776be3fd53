"""Checks a database before and after the migration.

Exit codes: 0 all well, 1 a check failed, 2 could not run.
"""

import argparse
import contextlib
import sys
from pathlib import Path

from common.database import connect
from common.report import Report, Result, exit_code, listen_to_signals

from . import checks, dry_run, expectation, queries, state


def check(connection, arguments) -> int:
    """Prints whether the migrations may be applied, and what is in the way."""
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
            for found in (f"{kind} {name} of {o}" for _, name, kind, o in s.objects if kind):
                report.add([Result("names", "fail", f"{found} is in the way", s.what_to_do)])
        else:
            report.add([s])
    for results in checks.run(connection, "check", "both"):
        report.add(results)
    return report.close()


def validate(connection, arguments) -> int:
    """Prints whether the schema is what the specification says, or that there is none yet."""
    connection.on_a_cluster("validate")
    report = Report(arguments.format)
    if not any(kind for made in expectation.objects(connection).values() for _, _, kind, _ in made):
        missing = [s for s in state.states(connection) if s.path and s.status != "pass"]
        report.add([Result(s.check, "fail", f"{s.found}: {s.what_to_do}") for s in missing])
        return report.close()
    with connection.cursor() as cursor:
        cursor.execute((expectation.HERE / "session.sql").read_text(encoding="utf-8"))
    connection.commit()
    for results in checks.run(connection, "validate", "both"):
        report.add(results)
    return report.close()


def show_state(connection, arguments) -> int:
    """Prints where each migration stands, and what is to do."""
    report = Report(arguments.format)
    report.add(state.states(connection))
    if arguments.format == "json":
        report.close()
    return 0 if all(s.status == "pass" for s in report.results) else 1


COMMANDS = {
    "check": (check, "may the migrations be applied here?"),
    "validate": (validate, "is the schema what the specification says?"),
    "state": (show_state, "where does each migration stand, and what is to do?"),
    "dry-run": (dry_run.run, "run what yoyo would run, show its locks, and undo it"),
    "monitor": (checks.monitor, "sizes; index use; slow statements; locks"),
    "queries": (queries.run, "explain and time the reference queries"),
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m validation", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    options = {}
    for name, (run, text) in COMMANDS.items():
        options[name] = add = commands.add_parser(name, help=text, description=text).add_argument
        add("-d", "--database", metavar="URL", help="default: that of yoyo.ini")
        add("--format", choices=("table", "json"), default="table")
        commands.choices[name].set_defaults(run=run)
    options["dry-run"]("--rollback", action="store_true", help="what make rollback would run")
    options["dry-run"]("--brief", action="store_true", help="only statements with locks")
    options["queries"]("--explain", metavar="FILE", type=Path, help="show its plan, timed, instead")
    options["queries"]("files", metavar="FILE", nargs="*", type=Path, help="only these")
    arguments = parser.parse_args(argv)

    def command() -> int | None:
        with contextlib.closing(connect(arguments.database)) as connection:
            return arguments.run(connection, arguments)

    return exit_code(command, lambda: "Nothing was changed.")


if __name__ == "__main__":
    listen_to_signals()
    sys.exit(main())
