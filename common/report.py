"""How results and failures look: for people in a terminal, or as JSON for a program."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass

import psycopg2

from .database import Unusable, interrupted, sentence

COLOURS = {"pass": 32, "warn": 33, "fail": 31}


@dataclass
class Result:
    """One row of a check: its subject, pass, warn or fail, what was found and what to do."""

    check: str
    status: str
    found: str
    what_to_do: str | None = None


def colour(status: str, text: str) -> str:
    """Text in the colour of a status, on a terminal and without NO_COLOR."""
    if os.environ.get("NO_COLOR") or not sys.stdout.isatty():
        return text
    return f"\033[{COLOURS[status]}m{text}\033[0m"


def listen_to_signals() -> None:
    """Lets the end of a terminal or of a job end a command as Ctrl-C does: with all it started.

    Also in the background, where a shell has Ctrl-C ignored.
    """

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:  # nohup
            signal.signal(number, interrupt)


def exit_code(command: Callable[[], int | None], otherwise: Callable[[], str]) -> int:
    """Runs a command, and says on stderr in one sentence why it could not run.

    Args:
        command: gives an exit code; None is 0.
        otherwise: says how things stand when it was refused or interrupted.

    Returns:
        Its exit code, or 2 when it could not run.
    """
    try:
        return command() or 0
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


class Report:
    """Collects results; prints each as it comes (table) or all at the end (json)."""

    def __init__(self, output_format: str = "table") -> None:
        self.results: list[Result] = []
        self.format = output_format

    def add(self, results: list[Result]) -> None:
        """Adds the results of one check; what passed shares one line per subject."""
        self.results += results
        if self.format != "table":
            return
        subjects: dict[str, list[Result]] = {}
        for result in results:
            subjects.setdefault(result.check, []).append(result)
        for subject, rows in subjects.items():
            passed = [row for row in rows if row.status == "pass"]
            if len(passed) == 1:
                self._line(passed[0])
            elif passed:
                self._line(Result(subject, "pass", f"{len(passed)} as specified"))
            for row in rows:
                if row.status != "pass":
                    self._line(row)

    def _line(self, row: Result) -> None:
        print(f"  {colour(row.status, row.status)}  {row.check:<20}  {row.found}")
        if row.status != "pass" and row.what_to_do:
            print(f"  {'':<4}  {'':<20}  → {row.what_to_do}")

    def close(self) -> int:
        """Prints the summary, and returns the exit code: 1 when something failed, else 0."""
        count = {s: sum(r.status == s for r in self.results) for s in COLOURS}
        if self.format == "json":
            rows = [asdict(result) for result in self.results]
            print(json.dumps({"results": rows, **count}, ensure_ascii=False, indent=2, default=str))
        elif count["fail"]:
            print(colour("fail", f"{count['fail']} of {len(self.results)} checks failed."))
        else:
            warnings = f", {count['warn']} with a warning" if count["warn"] else ""
            print(colour("pass", f"All {len(self.results)} checks passed{warnings}."))
        return 1 if count["fail"] else 0
