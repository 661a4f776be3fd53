"""Readers and writers go on through apply and rollback, whoever else holds users meanwhile.

All runs are started together; each test reports one of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import product

import pytest

from local_postgres.server import VERSIONS

from .conftest import TABLES, Database, clone
from .traffic import ELAPSED, Traffic

READ = f"SELECT count(*), {ELAPSED} FROM users"
WRITE = f"UPDATE users SET full_name = 'B' WHERE id = 2 RETURNING {ELAPSED}"
READ_SIX = f"SELECT {', '.join(f'(SELECT count(*) FROM {t})' for t in TABLES)}, {ELAPSED}"
WRITE_SIX = (
    "WITH "
    + ", ".join(f"{t}_ AS (UPDATE {t} SET created_at = created_at)" for t in TABLES)
    + f" SELECT {ELAPSED}"
)
ROWS = """
INSERT INTO amenities (id, category) VALUES ('wifi', 'interior');
INSERT INTO amenity_translations (amenity_id, locale, name) VALUES ('wifi', 'en', 'Wi-Fi');
INSERT INTO policies (id, category, data_type) VALUES ('pets', 'house_rules', 'boolean');
INSERT INTO policy_translations (policy_id, locale, name) VALUES ('pets', 'en', 'Pets');
INSERT INTO properties (title, description, transaction_type, property_type, rent_price)
VALUES ('A', '', 'rent', 'villa', 1);
INSERT INTO property_translations (property_id, locale, field, value)
SELECT id, 'th', 'title', 'A' FROM properties;
"""

# The migration wants users, or pauses between two tries.
MET = (
    "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE '0001%'"
    " AND wait_event IN ('relation', 'PgSleep')"
)
HOLD = 2  # seconds that a blocker goes on after it was met
# What the patience block promises to others, in seconds: they wait behind a try, never behind
# what the try waits for. Only for a vacuum, and only after ten seconds, a try lasts longer.
TRY = 0.12
VACUUM_TRY = 1.5
MARGIN = 0.5  # for the work under the lock, and for a machine that is busy otherwise


@contextmanager
def nothing(database: Database) -> Iterator[None]:
    yield


@contextmanager
def writing_transaction(database: Database) -> Iterator[None]:
    with database.connect() as connection, connection.transaction():
        connection.execute("UPDATE users SET full_name = 'A' WHERE id = 1")
        yield


@contextmanager
def reading_transaction(database: Database) -> Iterator[None]:
    with database.connect() as connection, connection.transaction():
        connection.execute("SELECT count(*) FROM users")
        yield


@contextmanager
def dump(database: Database) -> Iterator[None]:
    """A pg_dump that stands still in the middle, since nobody reads what it writes."""
    process = database.start(
        database.server.program("pg_dump"), "-h", database.host, "-U", "bestays",
        "-t", "users", database.name,
    )  # fmt: skip
    stuck = "application_name = 'pg_dump' AND wait_event = 'ClientWrite'"
    wait_for(database, f"SELECT 1 FROM pg_stat_activity WHERE {stuck}")
    yield
    output, message = process.communicate()
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
    wait_for(database, "SELECT 1 FROM pg_stat_progress_vacuum WHERE relid = 'users'::regclass")
    finished = "SELECT autovacuum_count FROM pg_stat_user_tables WHERE relname = 'users'"
    before = database.value(finished)
    yield
    assert database.value(finished) == before, "it was not in the way until the end"


# Who holds users, and which of the two it keeps waiting
BLOCKERS = {
    "nothing": (nothing, ()),
    "writing transaction": (writing_transaction, ("apply", "rollback")),
    "reading transaction": (reading_transaction, ("rollback",)),
    "dump": (dump, ("rollback",)),
    "autovacuum": (autovacuum, ("apply", "rollback")),
}
COMMANDS = {"apply": "unmigrated", "rollback": "migrated"}


def wait_for(database: Database, sql: str) -> None:
    deadline = time.monotonic() + 60
    while not database.superuser(f"{sql} AND datname = current_database()"):
        assert time.monotonic() < deadline, f"waited a minute for: {sql}"
        time.sleep(0.05)


def three_more(traffic: list[Traffic]) -> None:
    """Waits until each has executed its statement three more times."""
    wanted = [len(t.waits) + 3 for t in traffic]
    while any(len(t.waits) < n and not t.errors for t, n in zip(traffic, wanted)):
        time.sleep(0.01)


@dataclass
class Run:
    """What yoyo returned, what others noticed, and whether the blocker kept it waiting.

    Attributes:
        early: the longest wait of each, until the migration had met the blocker for HOLD.
    """

    code: int
    message: str
    traffic: list[Traffic]
    early: list[float]
    waited: bool
    tables: set[str]


def run(
    database: Database, command: str, statements: list[str], blocker: Callable, in_the_way: bool
) -> Run:
    database.execute(
        "INSERT INTO users (id, email, full_name)"
        " SELECT n, n || '@example.com', 'A' FROM generate_series(1, 20000) AS n"
    )
    with ExitStack() as stack:
        traffic = [stack.enter_context(Traffic(database, s, 0.03)) for s in statements]
        three_more(traffic)
        with blocker(database):
            migration = database.start(*database.yoyo_command(command))
            if in_the_way:
                wait_for(database, MET)
                time.sleep(HOLD)
            early = [max(t.waits) for t in traffic]
            if not in_the_way or blocker is autovacuum:
                migration.wait(60)
            waited = migration.poll() is None
        _, message = migration.communicate(timeout=60)
        three_more(traffic)
    return Run(migration.returncode, message, traffic, early, waited, database.tables())


@pytest.fixture(scope="module")
def runs(servers) -> Iterator[dict[tuple, Future]]:
    def one(server, command: str, blocker: str) -> Run:
        with clone(server, COMMANDS[command]) as database:
            block, ways = BLOCKERS[blocker]
            return run(database, command, [READ, WRITE], block, command in ways)

    def refusal(server) -> Run:
        with clone(server, "migrated") as database:
            database.execute(ROWS)
            return run(database, "rollback", [READ, WRITE, READ_SIX, WRITE_SIX], nothing, False)

    with ThreadPoolExecutor(10) as pool:
        # The longest first
        started = {
            (server.version, command, blocker): pool.submit(one, server, command, blocker)
            for blocker, command, server in product(reversed(BLOCKERS), COMMANDS, servers)
        }
        started |= {(s.version, "refusal"): pool.submit(refusal, s) for s in servers}
        yield started


@pytest.mark.parametrize("blocker", BLOCKERS)
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("version", VERSIONS, ids="pg{}".format)
def test_nobody_fails_and_nobody_waits_longer_than_a_try(runs, version, command, blocker):
    done = runs[version, command, blocker].result()
    assert done.code == 0, done.message
    assert done.tables == (set(TABLES) if command == "apply" else set())
    for traffic, early in zip(done.traffic, done.early):
        assert not traffic.errors, traffic.statement
        assert early < TRY + MARGIN, traffic.statement
        promised = VACUUM_TRY if blocker == "autovacuum" else TRY
        assert max(traffic.waits) < promised + MARGIN, traffic.statement
    if blocker != "autovacuum":
        assert done.waited == (command in BLOCKERS[blocker][1])


@pytest.mark.parametrize("version", VERSIONS, ids="pg{}".format)
def test_a_rollback_that_refuses_makes_nobody_wait(runs, version):
    done = runs[version, "refusal"].result()
    assert done.code != 0
    assert "the rollback would delete rows: 1 amenities" in done.message
    assert done.tables == set(TABLES)
    for traffic in done.traffic:
        assert not traffic.errors, traffic.statement
        assert max(traffic.waits) < TRY + MARGIN, traffic.statement
