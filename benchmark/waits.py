"""How long other sessions wait while the migration runs, and a picture of it."""

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import product
from pathlib import Path

from local_postgres.server import Server
from tests.conftest import Database, clone
from tests.traffic import READ_USERS

from .commands import APPLY, ROLLBACK, fail, say

HOLDS = (1, 5, 20)  # seconds that the blocking transaction stays open
ARRIVALS = 0.1  # seconds from one request of the other sessions to the next
# For each way: the template, the file, what blocks it, what the others do, its DDL on users.
WAYS = {
    "apply": (
        "unmigrated", APPLY, "UPDATE users SET full_name = 'A' WHERE id = 1",
        "UPDATE users SET full_name = 'B' WHERE id = {}",  # a row each: none waits for another
        r"ALTER TABLE properties\s+ADD CONSTRAINT properties_created_by_fkey[^;]*;",
    ),
    "rollback": ("migrated", ROLLBACK, READ_USERS, READ_USERS, r"DROP TABLE IF EXISTS[^;]*;"),
}  # fmt: skip


class Requests:
    """A request every ARRIVALS seconds, each in a session of its own, as a web server has them.

    Attributes:
        waits: per request the second at which it came, and how many it took.
        errors: what went wrong in them; empty when all is well.
    """

    def __init__(self, database: Database, statement: str) -> None:
        self.database, self.statement = database, statement
        self.waits: list[tuple[float, float]] = []
        self.errors: list[Exception] = []
        self._began = time.monotonic()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._arrive)]

    def _arrive(self) -> None:
        while not self._stop.wait(ARRIVALS):
            statement = self.statement.format(1 + len(self._threads))
            self._threads.append(threading.Thread(target=self._ask, args=[statement]))
            self._threads[-1].start()

    def _ask(self, statement: str) -> None:
        try:
            with self.database.connect() as connection:
                began = time.monotonic()
                connection.execute(statement)
                self.waits.append((began - self._began, time.monotonic() - began))
        except Exception as error:
            self.errors.append(error)

    def __enter__(self) -> "Requests":
        self._threads[0].start()
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self.waits.sort()


def without_patience(file: Path, ddl: str) -> str:
    """The same file with its patient block replaced by the plain statement in it."""
    sql = file.read_text(encoding="utf-8")
    [block] = re.findall(r"(?s)DO \$\$ -- [^\n]*, in short tries\n.*?\n\$\$;", sql)
    [statement] = re.findall(ddl, block)
    return sql.replace(block, f"SET LOCAL lock_timeout = 0;\n{statement}")


def measure_waits(database: Database, way: str, is_patient: bool, hold: int) -> dict:
    """Runs one file beside a transaction that stays open for some seconds, and others' requests."""
    _, file, blocking, others, ddl = WAYS[way]
    sql = file.read_text(encoding="utf-8") if is_patient else without_patience(file, ddl)
    database.execute(
        "INSERT INTO users (email) SELECT n || '@example.com' FROM generate_series(1, 1000) AS n"
    )
    with Requests(database, others) as requests, database.connect() as blocker:
        with blocker.transaction():
            blocker.execute(blocking)
            time.sleep(1)  # what the requests take when nothing is going on
            began = time.monotonic()
            migration = database.start(
                database.server.program("psql"), "-X", "-q", "-1", "-v", "ON_ERROR_STOP=1",
                "-h", database.host, "-U", "bestays", database.name, "-c", sql,
                PGOPTIONS="-c property_v2.allow_data_loss=on",
            )  # fmt: skip
            time.sleep(hold)
        _, message = migration.communicate()
        seconds = time.monotonic() - began
        if migration.returncode:
            fail(f"{way} beside {blocking} failed: {message}")
        time.sleep(1)
    if requests.errors:
        fail(f"{way}: {len(requests.errors)} requests failed: {requests.errors[0]}")
    return {
        "way": way, "is_patient": is_patient, "hold": hold, "seconds": seconds,
        "waits": [(at - 1, wait) for at, wait in requests.waits],
        "longest": max(wait for _, wait in requests.waits),
    }  # fmt: skip


def all_waits(server: Server) -> list[dict]:
    """Both ways, with patience and without, for each hold; four at a time."""
    measured = []
    for hold in HOLDS:
        say(f"waits of others beside a transaction of {hold} s")
        with ExitStack() as stack:
            pool = stack.enter_context(ThreadPoolExecutor())
            futures = [
                pool.submit(
                    measure_waits, stack.enter_context(clone(server, WAYS[way][0])), way,
                    is_patient, hold,
                )
                for way, is_patient in product(WAYS, (True, False))
            ]  # fmt: skip
            measured += [future.result() for future in futures]
    return measured


STYLE = """
text { font: 13px system-ui, sans-serif; fill: #57606a }
.title { font-size: 15px; font-weight: 600 }
.axis { stroke: #8c959f; stroke-width: 1 }
.plain { stroke: #d1242f; fill: none; stroke-width: 2 }
.patient { stroke: #0f7bc4; fill: none; stroke-width: 3 }
text.plain { fill: #d1242f; stroke: none }
text.patient { fill: #0f7bc4; stroke: none; font-weight: 600 }
@media (prefers-color-scheme: dark) {
  text { fill: #b1bac4 }
  .plain { stroke: #ff7b72 } text.plain { fill: #ff7b72 }
  .patient { stroke: #58a6ff } text.patient { fill: #58a6ff }
}
"""


def picture(measured: list[dict]) -> str:
    """An SVG: for each way, the wait of each request over the time at which it came."""
    width, height, left, top = 390, 260, 60, 70
    end, highest = max(HOLDS) + 2, max(HOLDS)
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {2 * (width + left) + 20}"
        f" {height + top + 60}' role='img'>",
        "<title>Waits of other sessions while a transaction blocks the migration</title>",
        f"<style>{STYLE}</style>",
    ]
    for panel, (way, who) in enumerate(
        {"apply": "a session that writes users", "rollback": "a session that reads users"}.items()
    ):
        x0, y0 = left + panel * (width + left), top + height

        def at(seconds: float, wait: float, x0: float = x0, y0: float = y0) -> str:
            return f"{x0 + width * seconds / end:.1f},{y0 - height * wait / highest:.1f}"

        parts.append(f"<text class='title' x='{x0}' y='24'>{way}: wait of {who}</text>")
        parts.append(
            f"<text x='{x0}' y='44'>beside a transaction of {', '.join(map(str, HOLDS[:-1]))}"
            f" and {HOLDS[-1]} s</text>"
        )
        parts.append(f"<path class='axis' fill='none' d='M{x0},{top}V{y0}H{x0 + width}'/>")
        for tick in range(0, highest + 1, 5):
            (x, y), (_, level) = at(tick, 0).split(","), at(0, tick).split(",")
            parts.append(f"<path class='axis' d='M{x},{y}v5M{x0},{level}h-5'/>")
            parts.append(f"<text x='{x}' y='{y0 + 20}' text-anchor='middle'>{tick}</text>")
            parts.append(
                f"<text x='{x0 - 9}' y='{float(level) + 4:.1f}' text-anchor='end'>{tick}</text>"
            )
        parts.append(
            f"<text x='{x0 + width / 2}' y='{y0 + 40}' text-anchor='middle'>"
            "seconds since the migration began</text>"
        )
        parts.append(
            f"<text transform='translate({x0 - 36},{top + height / 2}) rotate(-90)'"
            " text-anchor='middle'>seconds waited</text>"
        )
        own = sorted(
            (m for m in measured if m["way"] == way), key=lambda m: m["is_patient"]
        )  # this migration's line last, on top
        for m in own:
            points = " ".join(at(*point) for point in m["waits"] if 0 <= point[0] <= end)
            css = "patient" if m["is_patient"] else "plain"
            parts.append(f"<polyline class='{css}' points='{points}'/>")
            if not m["is_patient"]:
                x, y = at(*max(m["waits"], key=lambda point: point[1])).split(",")
                parts.append(
                    f"<text class='plain' x='{float(x) + 6:.1f}' y='{float(y) - 4:.1f}'>"
                    f"{m['hold']} s</text>"
                )
        longest = max(m["longest"] for m in own if m["is_patient"])
        x, y = at(end * 0.36, highest * 0.72).split(",")
        parts.append(f"<text class='plain' x='{x}' y='{y}'>plain DDL: until the other ends</text>")
        x, y = at(end * 0.28, highest * 0.04).split(",")
        parts.append(
            f"<text class='patient' x='{x}' y='{y}'>this migration: at most {longest:.2f} s</text>"
        )
    return "\n".join([*parts, "</svg>", ""])
