"""How commands are called, and how results and failures look: for people, or as JSON."""

import argparse
import json
import os
import re
import signal
import sys
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import timedelta
from itertools import groupby, zip_longest

import psycopg2

from .database import Unusable, interrupted, sentence

COLOURS = {"pass": 32, "warn": 33, "fail": 31}
WIDTH = 100  # columns of a terminal
WORDS = re.compile(r"(\s+|(?<=_))")  # a line ends with a word, or after an underscore


@dataclass
class Result:
    """One row of a check: its subject, pass, warn or fail, what was found and what to do."""

    check: str
    status: str
    found: str
    what_to_do: str | None = None


class Wrapper(textwrap.TextWrapper):
    wordsep_simple_re = WORDS


def show_results(checks: Iterable[list[Result]], format: str, summary: str | None = None) -> int:
    """Prints the results of each check as it comes (table), or of all at the end (json).

    What passed shares one line per subject. In a table, a summary stands in for the count of all.
    Gives the exit code: 1 when something failed, else 0.
    """
    all_of_them: list[Result] = []
    for results in checks:
        all_of_them += results
        for subject, group in groupby(results if format == "table" else [], lambda r: r.check):
            rows = sorted(group, key=lambda row: row.status != "pass")
            passed = sum(row.status == "pass" for row in rows)
            if passed > 1:
                rows[:passed] = [Result(subject, "pass", f"{passed} as specified")]
            for row in rows:
                print(f"  {_coloured(row.status, row.status)}  {subject:<20}  {row.found}")
                lines = (row.what_to_do or "").splitlines() if row.status != "pass" else []
                for number, line in enumerate(lines):  # each can be pasted
                    print(f"{'':<28}{' ' if number else '→'} {line}")
    count = {s: sum(r.status == s for r in all_of_them) for s in COLOURS}
    if format == "json":
        print_json({"results": [asdict(result) for result in all_of_them], **count})
    elif summary is not None:
        print(summary, end="")
    elif count["fail"]:
        print(_coloured("fail", f"{count['fail']} of {len(all_of_them)} checks failed."))
    else:
        warnings = f", {count['warn']} with a warning" if count["warn"] else ""
        print(_coloured("pass", f"All {len(all_of_them)} checks passed{warnings}."))
    return 1 if count["fail"] else 0


def _coloured(status: str, text: str) -> str:
    if os.environ.get("NO_COLOR") or not (sys.stdout and sys.stdout.isatty()):
        return text
    return f"\033[{COLOURS[status]}m{text}\033[0m"


def print_json(document: object) -> None:
    """Prints a document whole, also where the output knows no more than ASCII."""
    knows_all = "utf" in getattr(sys.stdout, "encoding", "").lower()
    print(json.dumps(document, ensure_ascii=not knows_all, indent=2, default=str))


def print_table(rows: list[dict]) -> None:
    """Prints rows under the names of their columns, whose ends say the unit: bytes, seconds.

    Columns are as narrow as a terminal asks for; where words are too long for that, each row is a
    block of lines, as in psql's expanded display.
    """
    titles = [re.sub("_(bytes|seconds)$", "", name).replace("_", " ") for name in rows[0]]
    texts = [[_text(*cell) for cell in row.items()] for row in rows]
    sides = ["<>"[any(isinstance(row[name], (int, float)) for row in rows)] for name in rows[0]]
    table = [titles, *texts]
    widths = [max(map(len, column)) for column in zip(*table)]
    least = [max(map(len, WORDS.split(" ".join(column)))) for column in zip(*table)]
    if sum(least) + 2 * len(least) > WIDTH:
        side = max(map(len, titles))
        sides, widths = ["<", "<"], [side, WIDTH - side - 4]
        table = [pair for row in texts for pair in (*zip(titles, row), ("", ""))][:-1]
    while sum(widths) + 2 * len(widths) > WIDTH:
        widest = max((width, n) for n, width in enumerate(widths) if width > least[n])[1]
        widths[widest] -= 1
    for row in table:
        cells = [Wrapper(width, break_on_hyphens=False).wrap(x) for x, width in zip(row, widths)]
        for line in zip_longest(*cells, fillvalue=""):
            padded = (f"  {text:{side}{width}}" for text, side, width in zip(line, sides, widths))
            print("".join(padded).rstrip())


def _text(name: str, value: object) -> str:
    if value is None:
        return "-"
    if name.endswith("_seconds"):
        return str(timedelta(seconds=value))
    if name.endswith("_bytes"):
        for unit in ("B", "kB", "MB", "GB", "TB"):
            if value < 10240 or unit == "TB":
                return f"{value:,.0f} {unit}"
            value /= 1024
    return f"{value:,}" if isinstance(value, (int, float)) else str(value)


def commands(prog: str, about: str, verbs: dict[str, Callable]) -> tuple:
    """A parser of `prog VERB`, and by verb what adds an argument to it.

    Each is explained by the first line of its function, which the arguments have as `run`.
    """
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog=prog, description=about, formatter_class=plain)
    added, adders = parser.add_subparsers(metavar="COMMAND", required=True), {}
    for verb, run in verbs.items():
        text = (run.__doc__ or "").partition("\n")[0]  # none under python -OO
        command = added.add_parser(verb, help=text, description=text)
        command.add_argument("-d", "--database", metavar="URL", help="default: that of yoyo.ini")
        command.set_defaults(run=run)
        adders[verb] = command.add_argument
    return parser, adders


def listen_to_signals() -> None:
    """Lets the end of a terminal or of a job end a command as Ctrl-C does: with all it started."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's & has it ignored
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup
            signal.signal(number, signal.default_int_handler)


def exit_code(command: Callable[[], int | None], otherwise: Callable[[], str]) -> int:
    """Runs a command: its exit code, or 2 and one sentence on stderr when it could not run.

    What `otherwise` gives says how things stand when it was refused or interrupted.
    """
    try:
        if sys.stdout:  # which may be closed, or know no arrows
            sys.stdout.reconfigure(errors="replace")
        code = command() or 0
        if sys.stdout:
            sys.stdout.flush()
        return code
    except BrokenPipeError:
        sys.stderr.close()
    except (Exception, KeyboardInterrupt) as error:
        if interrupted(error):
            print(f"Interrupted. {otherwise()}", file=sys.stderr)
        elif isinstance(error, psycopg2.Error):
            print(f"The database refused: {sentence(error)}. {otherwise()}", file=sys.stderr)
        elif isinstance(error, (Unusable, OSError)):
            print(error, file=sys.stderr)
        else:
            raise
    return 2
