"""Other sessions that work while a migration runs, and how long each of them waited."""

from __future__ import annotations

import threading
import time

from .conftest import Database

WRITE_USERS = "UPDATE users SET full_name = 'B' WHERE id = 2"
READ_USERS = "SELECT count(*) FROM users"
# How long a statement takes on the server, its waits for locks included. One that returns this
# last is measured by it: a busy machine, which keeps this process waiting, then disturbs less.
ELAPSED = "clock_timestamp() - statement_timestamp()"


class Traffic:
    """Repeats a statement in a session of its own until the block ends.

    Args:
        pause: seconds between two executions.

    Attributes:
        waits: seconds that each execution took.
        errors: what went wrong in it; empty when all is well.
    """

    def __init__(self, database: Database, statement: str, pause: float = 0.01) -> None:
        self.database, self.statement, self.pause = database, statement, pause
        self.waits: list[float] = []
        self.errors: list[Exception] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def _work(self) -> None:
        try:
            # Not prepared: a prepared statement's time begins after its wait for locks.
            with self.database.connect(
                application_name="traffic", prepare_threshold=None
            ) as connection:
                while not self._stop.wait(self.pause):
                    began = time.monotonic()
                    cursor = connection.execute(self.statement)
                    waited = time.monotonic() - began
                    if ELAPSED in self.statement:
                        waited = cursor.fetchone()[-1].total_seconds()
                    self.waits.append(waited)
        except Exception as error:
            self.errors.append(error)

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()


def add_users(database: Database) -> None:
    database.execute(
        "INSERT INTO users (id, email)"
        " SELECT n, n || '@example.com' FROM generate_series(1, 9) AS n"
    )
