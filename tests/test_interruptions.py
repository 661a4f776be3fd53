"""What interrupts a run, and what it leaves: as before or fully done, named, with a way out.

All cases run side by side, each in a database of its own; each test reports one of them.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import signal
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest
from yoyo.migrations import read_sql_migration

from local_postgres.server import Server

from .conftest import (
    MIGRATIONS,
    PROJECT,
    Database,
    Done,
    Process,
    behind,
    clone,
    create,
    ended,
    fill,
    refused,
    rows,
    wait_for,
    well,
)
from .forks import Fork

MIGRATION = "0001_property_v2"

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
STATEMENTS = read_sql_migration(str(MIGRATIONS / f"{MIGRATION}.sql"))[2]
# SET and DO are no commands of their own, but the function, its comment and the foreign keys, which
# are made in DO, are.
KINDS = [re.sub(r"(?m)^--.*\n|\n", "", statement).split()[0] for statement in STATEMENTS]
LAST = sum(kind not in ("SET", "DO") for kind in KINDS) + 3


def cases() -> Iterator[tuple[str, str | int, str, int]]:
    """The command, where it is struck, what strikes it, and the version of the server."""
    for number, version in itertools.product(range(1, LAST + 1), (18, 16)):
        yield "apply", number, ("SIGKILL", "Ctrl-C")[(number + (version == 16)) % 2], version
    for command, places in COMMANDS.items():
        by_signal = (*(places if command != "apply" else ()), WAIT)
        marks = (MARK,) if command != "restore-kept" else ()
        struck = {
            "SIGKILL": (*by_signal, COMMIT, *marks),
            "Ctrl-C": (*by_signal, *marks),
            "session terminated": (*places, WAIT, COMMIT),
            "bookkeeping session terminated": (WAIT, MARK) if marks else (),
            "server stopped": (*places, WAIT, COMMIT, *marks),
        }
        if sys.platform == "linux":  # where one process can take the disk from another
            struck["disk full"] = places[:-1] if command == "apply" else ()
            struck["disk full for the WAL"] = places[-1:]
        yield from ((command, place, how, 18) for how in struck for place in struck[how])


CASES = list(cases())
# These strike everything that runs on the server, so each is done once, after all others.
ALL_AT_ONCE = ("server stopped", "disk full for the WAL")
SETTINGS = {
    "fsync": "off",
    "max_connections": "200",
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
        as_before: by command, databases in which a case has left all as it was.
    """

    def __init__(self, server: Server, create: Callable[..., Database]) -> None:
        def template(command: str, origin: str) -> Database:
            return create(server, origin, f"before_{command}")

        self.server, self.create = server, create
        self.ways_out: set[tuple] = set()
        self.as_before: dict[str, list[Database]] = defaultdict(list)
        unmigrated = template("apply", "unmigrated")
        unmigrated.superuser(STRIKE)
        unmigrated.execute(USERS)
        well(unmigrated.yoyo("list"))  # makes its own tables
        self.dumps = {"unmigrated": dump(unmigrated)}
        migrated = template("rollback", "before_apply")
        migrated.apply()
        self.dumps["migrated"] = dump(migrated)
        fill(migrated)
        migrated.execute("DELETE FROM properties WHERE title !~ ' 1?[0-9] '")  # the same, sooner
        self.dumps["with rows"] = dump(migrated)
        template("keep", "before_rollback")
        kept = template("restore_kept", "before_rollback")
        kept.roll_back()
        self.dumps["kept"] = dump(kept)
        kept.apply()
        self.dumps["kept and migrated"] = dump(kept)
        kept.superuser("CHECKPOINT")  # else a crash would move the templates' sequences on

    def database(self, command: str) -> Database:
        """None is dropped here: that waits for each session that waits for a standby."""
        with contextlib.suppress(IndexError):
            return self.as_before[command].pop()
        database = self.create(self.server, f"before_{command.replace('-', '_')}")
        if command == "rollback":
            database.environment = {"PGOPTIONS": "-c property_v2.allow_data_loss=on"}
        return database


def dump(database: Database) -> str:
    """Without the row that says since when tables are kept."""
    return database.dump("-T", "property_v2_kept.kept")


def start(database: Database, verb: str, *arguments: str, ours=False, **environment: str) -> Fork:
    """By yoyo, except for what only we have."""
    command = database.yoyo_command(verb, *arguments)
    if ours or verb == "restore-kept":
        command = database.our_command("operations", verb)
    return Fork(command, database.env(**environment), PROJECT)


def run(database: Database, *command: str) -> Done:
    return ended(start(database, *command))


class Held:
    """A run that is held up: after a command, or at one of HOLDS.

    Attributes:
        pid: the process id of its session that is held up.
    """

    def __init__(self, database: Database, command: str, place: str | int, how: str, _) -> None:
        self.database, self.command, self.place, self.how = database, command, place, how
        self.holder = database.connect("postgres")
        self.holder.execute("BEGIN")
        hold = HOLDS.get(place, "SELECT pg_advisory_xact_lock(1)")
        self.holder.execute(hold.format("properties" if command == "keep" else "users"))
        options = [
            database.environment.get("PGOPTIONS", ""),
            "-c strike.commit=on" if place == COMMIT else "",
            "-c strike.at=" + str(place).replace(" ", r"\ "),
        ]
        verb = "rollback" if command == "keep" else command
        # While it takes a NOTICE of the server, psycopg2 alone loses a Ctrl-C; our commands wait
        # for the server in Python.
        ours = (command, how) == ("keep", "Ctrl-C")
        self.run = start(database, verb, ours=ours, PGOPTIONS=" ".join(options))
        where = behind(self.holder.info.backend_pid)
        if place == COMMIT:
            where = "wait_event = 'SyncRep'"
        self.pid = database.wait_for_session(where, f"{command} comes to {place}", self.run)

    def strike(self) -> None:
        if self.how == "SIGKILL":
            self.run.kill()
            if self.place == COMMIT:
                # It cannot notice: the commit is on disk already, and waits for the standby.
                subject = "kept tables" if self.command == "restore-kept" else MIGRATION
                found = self.database.state()[1][subject]
                assert f"running now: pid {self.pid} of bestays" in found["found"]
                statement = re.search(r"SELECT pg_terminate_backend\(\d+\)", found["what_to_do"])
                self.database.execute(statement[0])
            if self.place != MARK:
                self.wait()  # it stops by itself
        elif self.how == "Ctrl-C":
            os.kill(self.run.pid, signal.SIGINT)
        elif self.how == "session terminated":
            assert self.database.terminate(f"pid = {self.pid}") == 1
        elif self.how == "bookkeeping session terminated":
            bookkeeping = f"usename = 'bestays' AND application_name NOT LIKE '{MIGRATION}%'"
            assert self.database.terminate(bookkeeping) == 1
        elif self.how == "disk full":
            self.fill_disk(8192)
        self.release()

    def fill_disk(self, limit: int) -> None:
        """From now on the session can write no file beyond that many bytes."""
        # Run by the server: only a process of the same user may do that.
        self.database.superuser(
            f"COPY (SELECT WHERE FALSE) TO PROGRAM 'prlimit --pid={self.pid} --fsize={limit}'"
        )

    def release(self) -> None:
        with contextlib.suppress(psycopg.OperationalError):  # the server may be gone
            # Its session may outlive close(), and must not look like one of yoyo until then.
            self.holder.execute("ROLLBACK")
        self.holder.close()

    def wait(self) -> Done:
        """Waits until the run and its sessions are gone."""
        done = ended(self.run)
        self.database.wait_until_alone("usename = 'bestays'")
        return done


def check_state(database: Database, verdict: str, lock: str | tuple[str, ...]) -> bool:
    """Whether yoyo's lock is free."""
    code, found = database.state()
    assert found[MIGRATION]["found"].split(":")[0] == verdict
    assert found["yoyo lock"]["found"].startswith(lock)
    is_kept = "kept tables" in found
    assert is_kept == database.value("SELECT to_regnamespace('property_v2_kept') IS NOT NULL")
    is_free = found["yoyo lock"]["found"] == "free"
    assert code == (0 if (verdict, is_free, is_kept) == ("applied", True, False) else 1)
    return is_free


def follow_the_way_out(database: Database) -> None:
    """Runs what state advises until it has no more to say and exits with 0."""
    for _ in range(5):
        code, found = database.state()
        if code == 0:
            return
        # The lock first: it stops every other command.
        subjects = [c for c in ("yoyo lock", MIGRATION, "kept tables") if c in found]
        advice = "\n".join(found[c]["what_to_do"] or "" for c in subjects)
        command = re.search(r"(yoyo|operations) (break-lock|(un)?mark -m \w+|[a-z-]+) -d ", advice)
        well(run(database, *command[2].replace("migrate", "apply").split()))
    raise AssertionError(f"no way out: {found}")


def aftermath(ground: Ground, held: Held) -> bool:
    """Nothing is lost or half done, state says what it is, and its way out works.

    Returns:
        Whether all is as before.
    """
    database, command, how = held.database, held.command, held.how
    done = held.wait()
    assert done.returncode != 0, "the run was not struck"
    if how == "disk full":
        assert "File too large" in done.stderr
    committed = held.place in (COMMIT, MARK) or how == "bookkeeping session terminated"
    verdict, left = {
        ("apply", False): ("not applied", "unmigrated"),
        ("apply", True): ("committed but not marked", "migrated"),
        ("rollback", False): ("applied", "with rows"),
        ("rollback", True): ("marked but objects missing", "unmigrated"),
        ("keep", False): ("applied", "with rows"),
        ("keep", True): ("marked but objects missing", "kept"),
        ("restore-kept", False): ("applied", "kept and migrated"),
        ("restore-kept", True): ("applied", "with rows"),
    }[command, committed]
    assert dump(database) == ground.dumps[left]
    locked = how in ("SIGKILL", "bookkeeping session terminated", *ALL_AT_ONCE)
    locked = locked and command != "restore-kept"
    # A server that stops may end yoyo's two sessions one after the other.
    either = ("left behind by", "free") if how == "server stopped" else "left behind by"
    is_free = check_state(database, verdict, either if locked else "free")
    if (verdict, left, is_free) in ground.ways_out:
        database.execute("DELETE FROM yoyo_lock")
        return not committed
    ground.ways_out.add((verdict, left, is_free))
    follow_the_way_out(database)
    has_rows = verdict == "applied" or command == "keep"
    assert dump(database) == ground.dumps["with rows" if has_rows else "migrated"]
    return False


@contextmanager
def held(ground: Ground, *case: object) -> Iterator[Held]:
    run = Held(ground.database(case[0]), *case)
    try:
        yield run
    finally:
        run.release()
        run.run.kill()
        run.database.terminate()


def one(ground: Ground, case: tuple) -> None:
    for _ in range(3):
        with held(ground, *case) as run:
            run.strike()
            # Python can lose a KeyboardInterrupt, in a callback of its own; then all is done.
            is_lost = case[2] == "Ctrl-C" and run.wait().returncode == 0
            is_as_before = not is_lost and aftermath(ground, run)
        if is_as_before:
            ground.as_before[case[0]].append(run.database)
        if not is_lost:
            return
    raise AssertionError("three times Ctrl-C was not noticed")


def all_at_once(ground: Ground, how: str, pool: ThreadPoolExecutor) -> dict[tuple, Future]:
    with ExitStack() as stack:
        cases = [case for case in CASES if case[2] == how]
        runs = list(pool.map(lambda case: stack.enter_context(held(ground, *case)), cases))
        if how == "server stopped":
            ground.server.stop("immediate")
            ground.server.start(SETTINGS)
        else:
            for run in runs:
                run.fill_disk(0)
            runs[0].release()
            ended(runs[0].run)
            wait_for(lambda: is_up(runs[0].database), "the server is up again")
        for run in runs:
            run.release()
        futures = [pool.submit(aftermath, ground, run) for run in runs]
        wait(futures)
        return dict(zip(cases, futures))


def is_up(database: Database) -> bool:
    with contextlib.suppress(psycopg.OperationalError):
        database.superuser("SELECT")
        return True
    return False


def nothing_comes_after_the_last_command(ground: Ground) -> None:
    """So each of apply's is among the cases: one more would be held up."""
    database = ground.database("apply")
    with database.holding("SELECT pg_advisory_xact_lock(1)", "postgres"):
        well(ended(start(database, "apply", PGOPTIONS=f"-c strike.at={LAST + 1}")))
    assert dump(database) == ground.dumps["migrated"]


def two_at_the_same_moment(ground: Ground) -> None:
    database = ground.create(ground.server, "unmigrated")
    for run in [start(database, "apply") for _ in range(2)]:
        well(ended(run))
    assert database.state()[0] == 0


def second_while_the_first_waits(ground: Ground) -> None:
    """The second gives up; even after a break-lock, which it advises, it breaks nothing."""
    with held(ground, "apply", WAIT, "", 18) as first:
        database = first.database
        second = run(database, "apply")
        assert second.returncode != 0
        assert f"Process {first.run.pid} has locked this database" in second.stderr
        check_state(database, "running now", f"held by process {first.run.pid}")
        well(run(database, "break-lock"))
        third = run(database, "apply")
        assert third.returncode != 0
        assert "LockNotAvailable" in third.stderr
        first.release()
        well(first.wait())
        assert database.state()[0] == 0
        assert dump(database) == ground.dumps["migrated"]


OTHERS = (
    second_while_the_first_waits, two_at_the_same_moment, nothing_comes_after_the_last_command
)  # fmt: skip


@pytest.fixture(scope="module")
def outcomes(servers, tmp_path_factory) -> Iterator[dict[object, Future]]:
    server = Server(18, tmp_path_factory.mktemp("data") / "data")
    server.start(SETTINGS)
    with ExitStack() as stack:
        stack.callback(server.stop, "immediate")
        server.bootstrap("unmigrated")
        grounds = {
            18: Ground(server, create),  # its databases go with it
            16: Ground(servers[1], lambda *of: stack.enter_context(clone(*of))),
        }
        pool = stack.enter_context(ThreadPoolExecutor(8))
        done = {other: pool.submit(other, grounds[18]) for other in OTHERS}
        done |= {c: pool.submit(one, grounds[c[3]], c) for c in CASES if c[2] not in ALL_AT_ONCE}
        wait(done.values())
        for how in ALL_AT_ONCE:
            done |= all_at_once(grounds[18], how, pool)
        yield done


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_struck(outcomes, case):
    outcomes[case].result()


@pytest.mark.parametrize("other", OTHERS, ids=lambda other: other.__name__)
def test_beside_each_other(outcomes, other):
    outcomes[other].result()


# From here on: a dump and an import, in a copy of the project, whose folder backups is its own.
MANY_ROWS = """
INSERT INTO properties (title, description, transaction_type, property_type, rent_price, created_by)
SELECT n, (SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 40) WHERE n > 0),
    'rent', 'villa', 1, 1 FROM generate_series(1, 15000) AS n;
"""
SIGNALS = {"SIGKILL": signal.SIGKILL, "Ctrl-C": signal.SIGINT}
WAYS = (*SIGNALS, "session terminated")
# Holds an import up in the middle of its rows. Its foreign keys to users, checked at its end, are
# held up by a lock on the user.
HOLD_IMPORT = """
CREATE FUNCTION hold(title text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF title = '7000' THEN PERFORM pg_advisory_xact_lock(1); END IF;
    RETURN true;
END $$;
ALTER TABLE properties ADD CONSTRAINT hold CHECK (hold(title));
"""
IMPORT_HOLDS = {
    "rows": "SELECT pg_advisory_xact_lock(1)",
    "foreign keys": "SELECT FROM users FOR UPDATE",
}


@pytest.fixture(scope="module")
def full(servers) -> Iterator[Database]:
    with clone(servers[0], "migrated") as database:
        database.execute(USERS + MANY_ROWS)
        yield database


@pytest.fixture(scope="module")
def empty(servers) -> Iterator[Database]:
    with clone(servers[0], "migrated") as database:
        database.execute(USERS)
        database.superuser(HOLD_IMPORT)
        yield database


@pytest.fixture
def backups(checkout) -> Iterator[Path]:
    yield checkout / "backups"
    shutil.rmtree(checkout / "backups", ignore_errors=True)


def strike(database: Database, process: Process, how: str) -> None:
    """It says in a sentence that it failed, unless it was killed, and leaves no session."""
    if how in SIGNALS:
        os.killpg(process.pid, SIGNALS[how])
    else:
        assert database.terminate("application_name IN ('pg_dump', 'psql')")
    done = ended(process)
    if how == "SIGKILL":
        assert (done.returncode, done.stderr) == (-signal.SIGKILL, "")
    else:
        refused(done)
    database.wait_until_alone("usename = 'bestays'")


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("command", ["backup-db", "export-data"])
def test_dump_struck_half_way(full, checkout, backups, command, how):
    dump = full.start(*full.our_command("operations", command), cwd=checkout)
    copying = "SELECT 1 FROM pg_stat_progress_copy WHERE datname = current_database()"
    full.wait_for(f"{copying} AND tuples_processed > 0", "it copies rows", process=dump)
    strike(full, dump, how)
    left = list(backups.glob("*"))
    assert all(path.suffix == ".partial" for path in left), "half a dump looks like a whole one"
    assert how == "SIGKILL" or not left, "it did not clean up"
    assert full.state()[0] == 0


@pytest.fixture(scope="module")
def export(full, checkout) -> str:
    well(full.operations("export-data", cwd=checkout))
    (folder,) = (checkout / "backups").glob("*.data")
    return str(folder.rename(checkout / "a large export"))


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("place", IMPORT_HOLDS)
def test_import_struck_half_way_leaves_nothing_of_it(empty, checkout, export, place, how):
    before = empty.dump()
    command = empty.our_command("operations", "import-data", "--from", export)
    with empty.holding(IMPORT_HOLDS[place], "postgres") as holder:
        importing = empty.start(*command, cwd=checkout)
        empty.wait_for_session(behind(holder), f"the import comes to its {place}", importing)
        strike(empty, importing, how)
    assert empty.dump() == before
    assert empty.state()[0] == 0


def test_after_all_that_the_import_brings_every_row(full, empty, checkout, export):
    well(empty.operations("import-data", "--from", export, cwd=checkout))
    assert rows(empty) == rows(full)
