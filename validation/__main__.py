"""Checks a database before and after the migration.

Exit codes: 0 all well, 1 a check failed, 2 could not run.
"""

import contextlib
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import psycopg2

from common import report
from common.database import Connection, connect, sentence

from . import dry_run, expectation, queries, state
from .expectation import HERE


def check(connection: Connection, format: str = "table") -> int:
    """may the migrations be applied here?"""
    states = state.states(connection)
    if all(s.status == "pass" for s in states):
        said = [report.Result(s.check, s.status, s.found) for s in states]
        return report.show_results([said], format, "Nothing is left to apply.\n")
    before = ([*_expected(s)] for s in states)
    return report.show_results(chain(before, _run(connection, "check", "both")), format)


def _expected(found: state.State) -> Iterator[report.Result]:
    """A state, as it looks before an apply: that something is not there yet is what it asks for."""
    if found.verdict == state.NOT_APPLIED:
        yield report.Result(found.check, "pass", found.found)
        yield report.Result("names", "pass", f"all {len(found.objects)} are free")
    elif found.verdict == state.PARTLY_THERE:
        for name in state.there(found.objects):
            yield report.Result("names", "fail", f"{name} is in the way", found.what_to_do)
    else:
        yield found


def validate(connection: Connection, format: str = "table") -> int:
    """is the schema what the specification says?"""
    connection.on_a_cluster("validate")
    if not any(map(state.there, expectation.objects(connection).values())):
        missing = [s for s in state.states(connection) if s.path and s.status != "pass"]
        said = [report.Result(s.check, "fail", f"{s.found}: {s.what_to_do}") for s in missing]
        return report.show_results([said], format)
    with connection, connection.cursor() as cursor:
        cursor.execute((HERE / "session.sql").read_text("utf-8"))
    return report.show_results(_run(connection, "validate", "both"), format)


def show_state(connection: Connection, format: str = "table") -> int:
    """where does each migration stand, and what is to do?"""
    states = state.states(connection)
    report.show_results([states], format, summary="")
    return 0 if all(s.status == "pass" for s in states) else 1


def monitor(connection: Connection, format: str = "table") -> None:
    """sizes; index use; slow statements; locks

    Prints a table per subject, or one JSON object with the rows of each for a collector. In JSON
    the names of the columns say the unit: bytes, seconds, ms, percent. A subject that could not be
    read has one row, which says why as "unavailable".
    """
    subjects = {}
    files = "[479]*.sql" if connection.on_a_cluster("monitor") else "*.sql"
    for path, rows, error in _looks(connection, "monitor", files):
        found = [{"unavailable": error}] if error else [row._asdict() for row in rows]
        subjects[path.stem[3:]] = found
        if format == "table":
            print(path.read_text("utf-8").partition("\n")[0].lstrip("- "))
            report.print_table(found) if found else print("  none")
            print()
    if format == "json":
        report.print_json(subjects)


def _run(connection: Connection, *folders: str) -> Iterator[list[report.Result]]:
    """The results of one file of these folders after the other.

    A file that cannot run is a failed check of its own; psycopg2.Error: the connection is lost.
    """
    without = connection.ours("migrate", "--no-backup")
    for path, rows, error in chain.from_iterable(_looks(connection, name) for name in folders):
        results = [report.Result(*row) for row in rows]
        if error:
            found = f"could not be checked: {error}"
            way_out = f"Run validation/{path.parent.name}/{path.name} in psql."
            results = [report.Result(path.stem[3:].replace("_", " "), "fail", found, way_out)]
        for result in results:  # SQL knows the local database alone
            way_out = (result.what_to_do or "").replace("yoyo apply", connection.yoyo("apply"))
            result.what_to_do = way_out.replace("make migrate BACKUP=no", without) or None
        yield results


def _looks(connection: Connection, folder: str, files: str = "*.sql") -> Iterator[tuple]:
    """By file of a folder, its rows and no error, or none and the error in one sentence."""
    tables = ",".join(expectation.tables())
    for path in sorted((HERE / folder).glob(files)):
        try:
            yield path, connection.look(path, tables=tables), None
        except psycopg2.Error as error:
            if connection.closed:
                raise
            yield path, [], sentence(error)


def main(argv: list[str] | None = None) -> int:
    verbs = {"check": check, "validate": validate, "state": show_state, "dry-run": dry_run.run,
             "monitor": monitor, "queries": queries.run}  # fmt: skip
    parser, options = report.commands("python -m validation", __doc__, verbs)
    for add in options.values():
        add("--format", choices=("table", "json"), default="table")
    options["dry-run"]("--rollback", action="store_true", help="what make rollback would run")
    options["dry-run"]("--brief", action="store_true", help="only statements with locks")
    options["queries"]("--explain", metavar="FILE", type=Path, help="show its plan, timed, instead")
    options["queries"]("files", metavar="FILE", nargs="*", type=Path, help="only these")
    given = vars(parser.parse_args(argv))
    run, url = given.pop("run"), given.pop("database")

    def command() -> int | None:
        with contextlib.closing(connect(url)) as connection:
            return run(connection, **given)

    return report.exit_code(command, lambda: "Nothing was changed.")


if __name__ == "__main__":
    report.listen_to_signals()
    sys.exit(main())
