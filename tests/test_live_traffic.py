"""Readers and writers go on through apply and rollback, whoever else holds users meanwhile.

A migration that has to wait for somebody waits in short tries: others then wait for it, but only
until its try ends. So the blocker stays until the migration has tried several times, and others
must have gone on meanwhile. All runs are started together; each test reports one of them.
"""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from itertools import product

import pytest

from local_postgres.server import VERSIONS, Server

from .conftest import DEADLINE, TABLES, Database, clone, ended, wait_for, well
from .traffic import READ_USERS, WRITE_USERS, Traffic

TRIES = 7
WRITE_ONE = "UPDATE users SET full_name = 'A' WHERE id = 1"
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
def dump(database: Database) -> Iterator[None]:
    """A pg_dump that stands still in the middle, since nobody reads what it writes."""
    pg_dump = database.server.program("pg_dump")
    command = (pg_dump, "-h", database.host, "-U", "bestays", "-t", "users", database.name)
    writes = "application_name = 'pg_dump' AND wait_event = 'ClientWrite'"
    process = database.start_until(writes, "pg_dump is in the middle", *command)
    yield
    done = ended(process)
    well(done)
    assert done.stdout.count("@example.com") == 20000, "the dump is not complete"


@contextmanager
def autovacuum(
    database: Database, table: str = "users", change: str = "full_name = 'A' WHERE id > 2"
) -> Iterator[None]:
    """A worker so slow that it is still at work when the migration insists."""
    database.execute(
        f"ALTER TABLE {table} SET (autovacuum_vacuum_cost_delay = 100,"
        " autovacuum_vacuum_cost_limit = 1, autovacuum_vacuum_scale_factor = 0)"
    )
    database.execute(f"UPDATE {table} SET {change}")
    oid = database.value(f"SELECT '{table}'::regclass::oid")  # wherever it is set aside
    database.wait_for(
        f"SELECT 1 FROM pg_stat_progress_vacuum WHERE relid = {oid}"
        " AND datname = current_database()",
        f"an autovacuum of {table} begins",
    )
    finished = f"SELECT autovacuum_count FROM pg_stat_user_tables WHERE relid = {oid}"
    before = database.value(finished)
    yield
    assert database.value(finished) == before, "it was not in the way until the end"


# Who holds users, and which of the two it keeps waiting
BLOCKERS = {
    "autovacuum": (autovacuum, ("apply", "rollback")),
    "dump": (dump, ("rollback",)),
    "reading transaction": (lambda database: database.holding(READ_USERS), ("rollback",)),
    "writing transaction": (lambda database: database.holding(WRITE_ONE), ("apply", "rollback")),
    "nothing": (nullcontext, ()),
}
TEMPLATES = {"apply": "unmigrated", "rollback": "migrated", "keep": "filled"}
CASES = list(product(("apply", "rollback"), BLOCKERS, VERSIONS))
# A rollback that keeps rows would have to wait for the writer of users, if it wanted a lock on it.
CASES += product(("keep",), ("writing transaction",), VERSIONS)


def run(server: Server, command: str, blocker: str) -> None:
    """The blocker ends when it was in the way of several tries, or when yoyo has ended.

    From the first try on others are looked at: whether they wait, and for whom.
    """
    block, keeps_waiting = BLOCKERS[blocker]
    waits = command in keeps_waiting
    tries, migration, waited_for = set(), set(), set()  # when a try began to wait, process ids
    moments, waiting = 0, Counter()  # of each other session, at how many of the moments it waited
    with ExitStack() as stack:
        database = stack.enter_context(clone(server, TEMPLATES[command]))
        database.execute(
            "INSERT INTO users (id, email, full_name)"
            " SELECT n, n || '@example.com', 'A' FROM generate_series(1, 20000) AS n"
            " ON CONFLICT DO NOTHING"
        )
        statements = (READ_USERS, WRITE_USERS)
        others = [stack.enter_context(Traffic(database, s, 0.03)) for s in statements]
        watcher = stack.enter_context(database.connect("postgres"))
        for other in others:
            other.three_more()
        with block(database):
            verb = "apply" if command == "apply" else "rollback"
            yoyo = database.start(*database.yoyo_command(verb))

            def is_seen() -> bool:
                nonlocal moments
                try_began, at_work, blocking = watcher.execute(MOMENT).fetchone()
                migration.update(at_work)
                tries.update({try_began} - {None})
                moments += bool(tries)
                for session, behind in (blocking or {}).items():  # failed ones are found below
                    waiting[session] += bool(behind)
                    waited_for.update(behind)
                has_ended = yoyo.poll() is not None
                enough = waits and blocker != "autovacuum" and len(tries) >= TRIES
                assert not (enough and has_ended), "it did not wait"
                return enough or has_ended

            wait_for(is_seen, f"{command} tries {TRIES} times, or ends")
        well(ended(yoyo))
        for other in others:
            other.three_more()
        assert database.tables() == (set(TABLES) if command == "apply" else set())
    assert waited_for <= migration, "others wait for somebody else"
    if waits:
        assert len(tries) >= TRIES
        # All of a session's waits together are shorter than the pauses between the tries.
        assert max(waiting.values()) < moments / 2
    if command == "keep":
        assert not (tries or waited_for), "it takes a lock that others notice"


@pytest.fixture(scope="module")
def runs(servers) -> Iterator[dict[tuple, Future]]:
    by_version = {server.version: server for server in servers}
    with ThreadPoolExecutor(10) as pool:  # those that take longest come first
        order = sorted(CASES, key=lambda case: list(BLOCKERS).index(case[1]))
        yield {case: pool.submit(run, by_version[case[2]], *case[:2]) for case in order}


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_nobody_fails_and_nobody_waits_longer_than_a_try(runs, case):
    runs[case].result(2 * DEADLINE)
