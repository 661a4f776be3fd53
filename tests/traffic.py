"""Other sessions that work while a migration runs, and how long each of them waited."""

from __future__ import annotations

import threading
import time

from .conftest import Database

WRITE_USERS = "UPDATE users SET full_name = 'B' WHERE id = 2"
READ_USERS = "SELECT count(*) FROM users"


class Traffic:
    """Repeats a statement in a session of its own until the block ends.

    Attributes:
        waits: seconds that each execution took.
        errors: what went wrong in it; empty when all is well.
    """

    def __init__(self, database: Database, statement: str) -> None:
        self.database, self.statement = database, statement
        self.waits: list[float] = []
        self.errors: list[Exception] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def _work(self) -> None:
        try:
            with self.database.connect(application_name="traffic") as connection:
                while not self._stop.wait(0.01):
                    began = time.monotonic()
                    connection.execute(self.statement)
                    self.waits.append(time.monotonic() - began)
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
        "INSERT INTO users (id, email) SELECT n, n || '@example.com' FROM generate_series(1, 9) AS n"
    )
