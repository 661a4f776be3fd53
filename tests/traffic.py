"""Other sessions that work while a migration runs."""

import threading

from .conftest import DEADLINE, Database, wait_for

WRITE_USERS = "UPDATE users SET full_name = 'B' WHERE id = 2"
READ_USERS = "SELECT count(*) FROM users"


class Traffic:
    """Repeats a statement in a session of its own until the block ends.

    Args:
        pause: seconds between two executions.

    Attributes:
        executed: how often it came to its end.
        errors: what went wrong in it; empty when all is well, which the block ends with.
    """

    def __init__(self, database: Database, statement: str, pause: float = 0.01) -> None:
        self.database, self.statement, self.pause = database, statement, pause
        self.executed = 0
        self.errors: list[Exception] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def _work(self) -> None:
        # A try of 120 ms never makes it wait so long; one that stays in the queue does.
        options = {"options": "-c lock_timeout=10s", "application_name": "traffic",
                   "prepare_threshold": None}  # fmt: skip
        try:
            with self.database.connect(**options) as connection:
                while not self._stop.wait(self.pause):
                    connection.execute(self.statement)
                    self.executed += 1
        except Exception as error:
            self.errors.append(error)

    def three_more(self) -> None:
        """Waits until it was executed three more times, or failed."""
        wanted = self.executed + 3
        wait_for(lambda: self.executed >= wanted or self.errors, f"{self.statement}, three times")

    def __enter__(self) -> "Traffic":
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive(), f"waited in vain for the end of: {self.statement}"
        assert not self.errors, self.errors
