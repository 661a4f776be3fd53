"""What interrupts a run, and what it leaves: as before or fully done, named, with a way out."""

import contextlib
import itertools
import os
import re
import signal
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cached_property

import psycopg
import pytest

from local_postgres.server import VERSIONS, Server

from .conftest import Database, behind, create, ended, fill, wait_for, well
from .forks import Fork
from .test_state import MIGRATION, follow_the_way_out

# Holds a run up after the command of that number or kind, as long as somebody holds the lock 1.
# With strike.commit the run's commit waits for a standby that never comes.
STRIKE = """
CREATE FUNCTION strike() RETURNS event_trigger LANGUAGE plpgsql SET lock_timeout = 0 AS $$
DECLARE
    number text := coalesce(nullif(current_setting('strike.number', true), '')::int, 0) + 1;
BEGIN
    IF current_setting('application_name') !~ '^0001|_kept' THEN RETURN; END IF;
    PERFORM set_config('strike.number', number, true);
    IF current_setting('strike.at', true) IN (number, tg_tag) THEN
        PERFORM pg_advisory_xact_lock(1);
    END IF;
    IF current_setting('strike.commit', true) = 'on' THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
END $$;
CREATE EVENT TRIGGER strike ON ddl_command_end EXECUTE FUNCTION strike();
"""
USERS = "INSERT INTO users (email) SELECT n || '@example.com' FROM generate_series(1, 9) AS n;"
# Where a run is held up: by these locks, or after a command, which is given by number or kind
WAIT, COMMIT, MARK = "waiting", "committing", "marking what is committed"
HOLDS = {
    WAIT: "LOCK TABLE {} IN ROW EXCLUSIVE MODE",
    COMMIT: "SELECT",
    MARK: "LOCK TABLE _yoyo_migration IN SHARE MODE",
}
# A rollback that drops the tables, since it may, or keeps them; the way back of the kept.
COMMANDS = {
    "apply": ("CREATE FUNCTION", "CREATE TABLE", "CREATE INDEX", "ALTER TABLE"),
    "rollback": ("DROP TABLE", "DROP FUNCTION"),
    "keep": ("CREATE SCHEMA", "ALTER TABLE", "CREATE TABLE"),
    "restore-kept": ("DROP TABLE", "ALTER TABLE", "DROP SCHEMA"),
}
LAST = 45  # as many commands has an apply, which test_nothing_comes_after_the_last_command knows
# What each leaves, and how state calls it: before its commit, and after
LEFT = {
    "apply": (("not applied", "unmigrated"), ("committed but not marked", "migrated")),
    "rollback": (("applied", "with rows"), ("marked but objects missing", "unmigrated")),
    "keep": (("applied", "with rows"), ("marked but objects missing", "kept")),
    "restore-kept": (("applied", "kept and migrated"), ("applied", "with rows")),
}
# These strike everything that runs on the server, so all cases of each are struck together.
STOPPED, WAL = "server stopped", "disk full for the WAL"


def cases() -> Iterator[tuple[str, str | int, str, int]]:
    """The command, where it is struck, what strikes it, and the version of the server."""
    for number, version in itertools.product(range(1, LAST + 1), VERSIONS):
        yield "apply", number, ("SIGKILL", "Ctrl-C")[(number + (version == 16)) % 2], version
    for command, places in COMMANDS.items():
        by_signal = (*(places if command != "apply" else ()), WAIT)
        marks = (MARK,) if command != "restore-kept" else ()
        struck = {
            "SIGKILL": (*by_signal, COMMIT, *marks),
            "Ctrl-C": (*by_signal, *marks),
            "session terminated": (*places, WAIT, COMMIT),
            "bookkeeping session terminated": (WAIT, MARK) if marks else (),
            STOPPED: (*places, WAIT, COMMIT, *marks),
        }
        if sys.platform == "linux":  # where one process can take the disk from another
            struck["disk full"] = places[:-1] if command == "apply" else ()
            struck[WAL] = places[-1:]
        yield from ((command, place, how, 18) for how in struck for place in struck[how])


CASES = list(cases())
SETTINGS = {
    "fsync": "off",
    "shared_buffers": "16MB",  # many short sessions start and end faster
    "wal_buffers": "4MB",
    "synchronous_standby_names": "nobody",
    "synchronous_commit": "local",
    "wal_writer_delay": "10s",  # each session writes its own commit, or fails to
}


class Ground:
    """A server with a template before each command.

    Attributes:
        dumps: what is expected, by name.
        ways_out: those that were followed. The same that is left has the same way out.
        as_before: databases in which all is as before a command, to strike it there again.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.ways_out: set[tuple] = set()
        self.as_before: dict[str, list[Database]] = defaultdict(list)
        unmigrated = create(server, "unmigrated", "before_apply")
        unmigrated.superuser(STRIKE)
        unmigrated.execute(USERS)
        well(unmigrated.yoyo("list"))  # makes its own tables
        self.dumps = {"unmigrated": dump(unmigrated)}
        migrated = create(server, "before_apply", "before_rollback")
        migrated.apply()
        self.dumps["migrated"] = dump(migrated)
        if server.version == 16:  # where apply alone is struck
            return
        fill(migrated)
        migrated.execute("DELETE FROM properties WHERE title !~ ' 1?[0-9] '")  # the same, sooner
        self.dumps["with rows"] = dump(migrated)
        create(server, "before_rollback", "before_keep")
        kept = create(server, "before_rollback", "before_restore_kept")
        kept.roll_back()
        self.dumps["kept"] = dump(kept)
        kept.apply()
        self.dumps["kept and migrated"] = dump(kept)
        kept.superuser("CHECKPOINT")  # else a crash would move the templates' sequences on

    def database(self, command: str) -> Database:
        with contextlib.suppress(IndexError):
            return self.as_before[command].pop()
        database = create(self.server, f"before_{command.replace('-', '_')}")
        if command == "rollback":
            database.environment = {"PGOPTIONS": "-c property_v2.allow_data_loss=on"}
        return database


def dump(database: Database) -> str:
    """Without the row that says since when tables are kept."""
    return database.dump("-T", "property_v2_kept.kept")


class Held:
    """A run that is held up: after a command, or at one of HOLDS; it ends with the block."""

    def __init__(self, ground: Ground, command: str, place: str | int, how: str, _=18) -> None:
        self.ground, self.command, self.place, self.how = ground, command, place, how
        self.database = database = ground.database(command)
        hold = HOLDS.get(place, "SELECT pg_advisory_xact_lock(1)")
        hold = hold.format("properties" if command == "keep" else "users")
        self.stack = ExitStack()
        self.holder = self.stack.enter_context(database.holding(hold, "postgres"))
        options = [
            database.environment.get("PGOPTIONS", ""),
            "-c strike.commit=on" if place == COMMIT else "",
            "-c strike.at=" + str(place).replace(" ", r"\ "),
        ]
        run = database.yoyo_command("rollback" if command == "keep" else command)
        # By yoyo, except for what only we have. And while it takes a NOTICE of the server, psycopg2
        # alone loses a Ctrl-C; our commands wait for the server in Python.
        if command == "restore-kept" or (command, how) == ("keep", "Ctrl-C"):
            run = database.our_command("operations", run[1])
        self.run = Fork(run, database.env(PGOPTIONS=" ".join(options)), database.cwd)

    def __enter__(self) -> "Held":
        return self

    def __exit__(self, *_) -> None:
        self.release()
        self.run.kill()

    @cached_property
    def pid(self) -> int:
        """The process id of its session, as soon as that is held up."""
        where = behind(self.holder)
        if self.place == COMMIT:
            where = "wait_event = 'SyncRep'"
        what = f"{self.command} comes to {self.place}"
        return self.database.wait_for_session(where, what, self.run)

    def strike(self) -> None:
        """Strikes it, and waits until it and its sessions are gone."""
        pid = self.pid
        if self.how == "SIGKILL":
            self.run.kill()
            if self.place == COMMIT:
                # It cannot notice: the commit is on disk already, and waits for the standby.
                subject = "kept tables" if self.command == "restore-kept" else MIGRATION
                found = self.database.state()[1][subject]
                assert f"running now: pid {pid} of bestays" in found["found"]
                statement = re.search(r"SELECT pg_terminate_backend\(\d+\)", found["what_to_do"])
                self.database.execute(statement[0])
            if self.place in (*COMMANDS[self.command], WAIT):
                self.database.wait_until_alone("usename = 'bestays'")  # it stops by itself
        elif self.how == "Ctrl-C":
            os.kill(self.run.pid, signal.SIGINT)
        elif self.how == "session terminated":
            assert self.database.terminate(f"pid = {pid}") == 1
        elif self.how == "bookkeeping session terminated":
            bookkeeping = f"usename = 'bestays' AND application_name NOT LIKE '{MIGRATION}%'"
            assert self.database.terminate(bookkeeping) == 1
        elif self.how == "disk full":
            self.fill_disk(8192)
        self.end()

    def fill_disk(self, limit: int) -> None:
        """From now on the session can write no file beyond that many bytes."""
        # Run by the server: only a process of the same user may do that.
        self.database.superuser(
            f"COPY (SELECT WHERE FALSE) TO PROGRAM 'prlimit --pid={self.pid} --fsize={limit}'"
        )

    def release(self) -> None:
        with contextlib.suppress(psycopg.OperationalError):  # the server may be gone
            self.stack.close()

    def end(self) -> None:
        self.release()
        self.done = ended(self.run)
        self.database.wait_until_alone("usename = 'bestays'")

    def check(self) -> None:
        """Nothing is lost or half done, state says what it is, and its way out works."""
        database, ground, done = self.database, self.ground, self.done
        assert done.returncode != 0, "the run was not struck"
        if self.how == "disk full":
            assert "File too large" in done.stderr
        if (self.command, self.how) == ("restore-kept", STOPPED):
            assert "says where things stand." in done.stderr  # perhaps it is done
            assert "connection already closed" not in done.stderr  # which hides the reason
        is_committed = self.place in (COMMIT, MARK) or self.how.startswith("bookkeeping")
        verdict, left = LEFT[self.command][is_committed]
        if is_committed:
            assert dump(database) == ground.dumps[left]
        code, found = database.state()
        lock = found["yoyo lock"]["found"]
        locks = ("SIGKILL", "bookkeeping session terminated", STOPPED, WAL)
        is_locked = self.how in locks and self.command != "restore-kept"
        # A server that stops may end yoyo's two sessions one after the other.
        if self.how != STOPPED or lock != "free":
            assert lock.startswith("left behind by" if is_locked else "free")
        assert found[MIGRATION]["found"].split(":")[0] == verdict
        assert ("kept tables" in found) == ("kept" in left)
        assert code == (0 if (verdict, left, lock) == ("applied", "with rows", "free") else 1)
        way_out = (verdict, left, lock == "free")
        if way_out not in ground.ways_out:
            ground.ways_out.add(way_out)
            follow_the_way_out(database)
            has_rows = verdict == "applied" or self.command == "keep"
            assert dump(database) == ground.dumps["with rows" if has_rows else "migrated"]
        elif not is_committed:
            database.execute("DELETE FROM yoyo_lock")
            ground.as_before[self.command].append(database)


@pytest.fixture(scope="module")
def grounds(servers, tmp_path_factory) -> Iterator[dict[int, Ground]]:
    server = Server(18, tmp_path_factory.mktemp("data") / "data")
    server.start(SETTINGS)
    try:
        server.bootstrap("unmigrated")
        yield {18: Ground(server), 16: Ground(servers[1])}
    finally:
        server.stop("immediate")


@pytest.mark.parametrize(
    "case", [case for case in CASES if case[2] not in (STOPPED, WAL)],
    ids=lambda case: "-".join(map(str, case)),
)  # fmt: skip
def test_struck(grounds, case):
    for _ in range(3):
        with Held(grounds[case[-1]], *case) as run:
            run.strike()
            # Python can lose a KeyboardInterrupt, in a callback of its own; then all is done.
            if run.done.returncode or run.how != "Ctrl-C":
                run.check()
                return
    raise AssertionError("three times Ctrl-C was not noticed")


@pytest.mark.parametrize("how", [STOPPED, WAL])
def test_all_struck_at_once(grounds, how):
    ground = grounds[18]
    with ExitStack() as stack:
        runs = [stack.enter_context(Held(ground, *case)) for case in CASES if case[2] == how]
        assert all(run.pid for run in runs)
        if how == STOPPED:
            ground.server.stop("immediate")
            ground.server.start(SETTINGS)
        elif runs:
            for run in runs:
                run.fill_disk(0)
            runs[0].release()
            ended(runs[0].run)
            wait_for(lambda: is_up(ground.server), "the server is up again")
        for run in runs:
            run.end()
            run.check()


def is_up(server: Server) -> bool:
    with contextlib.suppress(psycopg.OperationalError):
        return bool(Database(server, "postgres").superuser("SELECT 1"))
    return False


def test_what_state_calls_as_before_is_so_to_the_last_row(grounds):
    for ground in grounds.values():
        for command, databases in ground.as_before.items():
            for database in databases:
                assert dump(database) == ground.dumps[LEFT[command][False][1]]


def test_nothing_comes_after_the_last_command(grounds):
    """So each of apply's is among the cases: one more would be held up."""
    database = grounds[18].database("apply")
    with database.holding("SELECT pg_advisory_xact_lock(1)", "postgres"):
        database.apply(PGOPTIONS=f"-c strike.at={LAST + 1}")


def test_two_at_the_same_moment(grounds):
    database = grounds[18].database("apply")
    for run in [database.start(*database.yoyo_command("apply")) for _ in range(2)]:
        well(ended(run))
    assert database.state()[0] == 0


def test_the_second_while_the_first_waits(grounds):
    """The second gives up; even after a break-lock, which it advises, it breaks nothing."""
    with Held(grounds[18], "apply", WAIT, "") as first:
        assert first.pid
        database = first.database
        second = database.yoyo("apply")
        assert second.returncode != 0
        assert f"Process {first.run.pid} has locked this database" in second.stderr
        found = database.state()[1]
        assert found[MIGRATION]["found"].startswith("running now")
        assert found["yoyo lock"]["found"].startswith(f"held by process {first.run.pid}")
        well(database.yoyo("break-lock"))
        third = database.yoyo("apply")
        assert third.returncode != 0
        assert "LockNotAvailable" in third.stderr
        first.end()
        well(first.done)
    assert database.state()[0] == 0
    assert dump(database) == grounds[18].dumps["migrated"]
