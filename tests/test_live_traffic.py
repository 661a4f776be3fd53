"""Readers and writers go on through apply and rollback, whoever else holds users meanwhile.

A migration that has to wait for somebody waits in short tries: others then wait for it, but only
until its try ends. So the blocker stays until the migration has tried several times, and others
must have gone on meanwhile. All runs are started together; each test reports one of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import product

import psycopg
import pytest

from local_postgres.server import VERSIONS

from .conftest import TABLES, Database, clone, fill, wait_for
from .traffic import READ_USERS, WRITE_USERS, Traffic

TRIES = 7
# When the migration's try began, if it waits, and who keeps whom of the others waiting
MOMENT = """
WITH migration AS (
    SELECT pid FROM pg_stat_activity
    WHERE application_name LIKE '0001%' AND datname = current_database()
)
SELECT
    (SELECT min(waitstart) FROM pg_locks INNER JOIN migration USING (pid) WHERE NOT granted),
    ARRAY(SELECT pid FROM migration),
    (
        SELECT jsonb_object_agg(pid, pg_blocking_pids(pid)) FROM pg_stat_activity
        WHERE application_name = 'traffic' AND datname = current_database()
    )
"""


@contextmanager
def transaction(database: Database, statement: str) -> Iterator[None]:
    with database.connect() as connection, connection.transaction():
        connection.execute(statement)
        yield


@contextmanager
def dump(database: Database) -> Iterator[None]:
    """A pg_dump that stands still in the middle, since nobody reads what it writes."""
    process = database.start(
        database.server.program("pg_dump"), "-h", database.host, "-U", "bestays",
        "-t", "users", database.name,
    )  # fmt: skip
    database.wait_for(
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name = 'pg_dump' AND wait_event = 'ClientWrite'",
        "pg_dump is in the middle",
    )
    yield
    output, message = process.communicate(timeout=60)
    assert process.returncode == 0, message
    assert output.count("@example.com") == 20000, "the dump is not complete"


@contextmanager
def autovacuum(database: Database) -> Iterator[None]:
    """A worker so slow that it is still at work when the migration insists."""
    database.execute(
        "ALTER TABLE users SET (autovacuum_vacuum_cost_delay = 100,"
        " autovacuum_vacuum_cost_limit = 1, autovacuum_vacuum_scale_factor = 0)"
    )
    database.execute("UPDATE users SET full_name = 'A' WHERE id > 2")
    database.wait_for(
        "SELECT 1 FROM pg_stat_progress_vacuum"
        " WHERE relid = 'users'::regclass AND datname = current_database()",
        "an autovacuum of users begins",
    )
    finished = "SELECT autovacuum_count FROM pg_stat_user_tables WHERE relname = 'users'"
    before = database.value(finished)
    yield
    assert database.value(finished) == before, "it was not in the way until the end"


# Who holds users, and which of the two it keeps waiting
BLOCKERS = {
    "nothing": (nullcontext, ()),
    "writing transaction": (
        partial(transaction, statement="UPDATE users SET full_name = 'A' WHERE id = 1"),
        ("apply", "rollback"),
    ),
    "reading transaction": (partial(transaction, statement=READ_USERS), ("rollback",)),
    "dump": (dump, ("rollback",)),
    "autovacuum": (autovacuum, ("apply", "rollback")),
}
COMMANDS = {"apply": "unmigrated", "rollback": "migrated"}


@dataclass
class Run:
    """A migration beside a blocker and others, as it was seen from its first try on.

    Attributes:
        tries: when each of its tries for a lock began to wait.
        moments: how often it was looked at while the blocker was there.
        waiting: of each other session, at how many of these moments it waited.
        migration: the process ids of the migration.
        waited_for: those that others waited for.
    """

    traffic: list[Traffic]
    tries: set = field(default_factory=set)
    moments: int = 0
    waiting: Counter = field(default_factory=Counter)
    migration: set[int] = field(default_factory=set)
    waited_for: set[int] = field(default_factory=set)
    code: int | None = None
    message: str = ""
    tables: set[str] = field(default_factory=set)

    def look(self, connection: psycopg.Connection) -> None:
        try_began, migration, waits = connection.execute(MOMENT).fetchone()
        self.migration |= set(migration)
        self.tries |= {try_began} - {None}
        self.moments += bool(self.tries)
        for session, behind in waits.items():
            self.waiting[session] += bool(behind)
            self.waited_for |= set(behind)


def run(
    database: Database, command: str, statements: list[str], blocker: Callable, in_the_way: bool
) -> Run:
    """Runs yoyo; the blocker ends when it was seen to be in the way, or when yoyo has ended."""
    database.execute(
        "INSERT INTO users (id, email, full_name)"
        " SELECT n, n || '@example.com', 'A' FROM generate_series(1, 20000) AS n"
        " ON CONFLICT DO NOTHING"
    )
    with ExitStack() as stack:
        done = Run([stack.enter_context(Traffic(database, s, 0.03)) for s in statements])
        watcher = stack.enter_context(database.connect("postgres"))
        for traffic in done.traffic:
            traffic.three_more()
        with blocker(database):
            migration = database.start(*database.yoyo_command(command))

            def is_seen() -> bool:
                done.look(watcher)
                enough = in_the_way and blocker is not autovacuum and len(done.tries) >= TRIES
                return enough or migration.poll() is not None

            wait_for(is_seen, f"{command} tries {TRIES} times, or ends", 90)
            done.code = migration.poll()
        _, done.message = migration.communicate(timeout=60)
        for traffic in done.traffic:
            traffic.three_more()
    if in_the_way and blocker is not autovacuum:
        assert done.code is None, f"it did not wait: {done.message}"
    done.code, done.tables = migration.returncode, database.tables()
    return done


@pytest.fixture(scope="module")
def runs(servers) -> Iterator[dict[tuple, Future]]:
    def one(server, command: str, blocker: str) -> Run:
        with clone(server, COMMANDS[command]) as database:
            block, ways = BLOCKERS[blocker]
            return run(database, command, [READ_USERS, WRITE_USERS], block, command in ways)

    def keep(server) -> Run:
        with clone(server, "migrated") as database:
            fill(database)
            writer = partial(transaction, statement="UPDATE users SET full_name = 'A' WHERE id = 1")
            return run(database, "rollback", [READ_USERS, WRITE_USERS], writer, False)

    with ThreadPoolExecutor(10) as pool:
        # The longest first
        started = {
            (server.version, command, blocker): pool.submit(one, server, command, blocker)
            for blocker, command, server in product(reversed(BLOCKERS), COMMANDS, servers)
        }
        started |= {(s.version, "keep"): pool.submit(keep, s) for s in servers}
        yield started


@pytest.mark.parametrize("blocker", BLOCKERS)
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("version", VERSIONS, ids="pg{}".format)
def test_nobody_fails_and_nobody_waits_longer_than_a_try(runs, version, command, blocker):
    done = runs[version, command, blocker].result(300)
    assert done.code == 0, done.message
    assert done.tables == (set(TABLES) if command == "apply" else set())
    assert not [traffic.errors for traffic in done.traffic if traffic.errors]
    assert done.waited_for <= done.migration, "others wait for somebody else"
    if command in BLOCKERS[blocker][1]:
        assert len(done.tries) >= TRIES
        # All of a session's waits together are shorter than the pauses between the tries.
        assert max(done.waiting.values()) < done.moments / 2


@pytest.mark.parametrize("version", VERSIONS, ids="pg{}".format)
def test_a_rollback_that_keeps_rows_lets_users_alone(runs, version):
    """It would have to wait for the writer of users, if it wanted a lock on it."""
    done = runs[version, "keep"].result(300)
    assert done.code == 0, done.message
    assert not done.tables
    assert not [traffic.errors for traffic in done.traffic if traffic.errors]
    assert not (done.tries or done.waited_for)
