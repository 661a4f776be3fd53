"""What interrupts a run, and what it leaves: as before or fully done, named, with a way out.

All cases run side by side, each in a database of its own; each test reports one of them.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from yoyo.migrations import read_sql_migration
from yoyo.scripts.main import main as yoyo_main

from local_postgres.server import Server
from operations.__main__ import main as operations_main

from .conftest import MIGRATIONS, PROJECT, Database, clone

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
USERS = "INSERT INTO users (email) SELECT n || '@example.com' FROM generate_series(1, 9) AS n"
ROWS = """
INSERT INTO amenities (id, category) VALUES ('wifi', 'interior');
INSERT INTO amenity_translations (amenity_id, locale, name) VALUES ('wifi', 'th', 'ไวไฟ');
INSERT INTO policies (id, category, data_type) VALUES ('pets', 'house_rules', 'boolean');
INSERT INTO policy_translations (policy_id, locale, name) VALUES ('pets', 'en', 'Pets 🐕');
INSERT INTO properties (title, description, transaction_type, property_type, rent_price, created_by)
SELECT n, E'a "b"\\n\\\\', 'rent', 'villa', n, 1 FROM generate_series(1, 9) AS n;
INSERT INTO property_translations (property_id, locale, field, value)
SELECT id, 'th', 'title', 'บ้าน' FROM properties;
"""
# Another one after each object that comes or goes, and each row of users
CATALOG = """
SELECT concat_ws(' ', (SELECT count(*) FROM pg_class), (SELECT count(*) FROM pg_type),
    (SELECT count(*) FROM pg_proc), (SELECT count(*) FROM pg_constraint),
    (SELECT count(*) FROM pg_trigger), (SELECT count(*) FROM pg_attribute),
    (SELECT count(*) FROM pg_description), (SELECT count(*) FROM pg_depend),
    (SELECT md5(string_agg(u::text, '' ORDER BY id)) FROM users AS u))
"""
# Where a run is held up: by these locks, or after a command
USERS_WAIT, SIX_WAIT = "waiting for users", "waiting for the tables"
COMMIT, MARK = "committing", "marking what is committed"
HOLDS = {
    USERS_WAIT: "LOCK TABLE users IN ROW EXCLUSIVE MODE",
    SIX_WAIT: "LOCK TABLE properties IN ROW EXCLUSIVE MODE",
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
LAST = {command: places[-1] for command, places in COMMANDS.items()}
WAITS = {command: SIX_WAIT if command == "keep" else USERS_WAIT for command in COMMANDS}
BY_YOYO = ("apply", "rollback", "keep")
# What strikes, and where. After the commands of apply, every_statement does SIGKILL and Ctrl-C.
CASES = [
    *((c, p, "SIGKILL") for c in COMMANDS for p in (WAITS[c], COMMIT)),
    *((c, WAITS[c], "Ctrl-C") for c in COMMANDS),
    *((c, MARK, how) for c in BY_YOYO for how in ("SIGKILL", "Ctrl-C")),
    *((c, p, how) for c in COMMANDS if c != "apply" for p in COMMANDS[c]
      for how in ("SIGKILL", "Ctrl-C")),
    *((c, p, "session terminated") for c in COMMANDS for p in (*COMMANDS[c], WAITS[c], COMMIT)),
    *((c, p, "bookkeeping session terminated") for c in BY_YOYO for p in (WAITS[c], MARK)),
    *((c, p, "server stopped") for c in COMMANDS for p in (*COMMANDS[c], WAITS[c], COMMIT)),
    *((c, MARK, "server stopped") for c in BY_YOYO),
]  # fmt: skip
if sys.platform == "linux":  # where one process can take the disk from another
    CASES += [("apply", p, "disk full") for p in COMMANDS["apply"][:-1]]
    CASES += [(c, LAST[c], "disk full for the WAL") for c in COMMANDS]
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


@dataclass
class Ground:
    """A server with a template before each command, and the dumps expected."""

    server: Server
    dumps: dict[str, str]

    @contextmanager
    def database(self, command: str) -> Iterator[Database]:
        with clone(self.server, f"before_{command.replace('-', '_')}") as database:
            if command == "rollback":
                database.environment = {"PGOPTIONS": "-c property_v2.allow_data_loss=on"}
            yield database


@contextmanager
def ground(server: Server) -> Iterator[Ground]:
    with ExitStack() as stack:
        unmigrated = stack.enter_context(clone(server, "unmigrated", "before_apply"))
        unmigrated.superuser(STRIKE)
        unmigrated.execute(USERS)
        assert unmigrated.yoyo("list").returncode == 0  # makes its own tables
        dumps = {"unmigrated": dump(unmigrated)}
        migrated = stack.enter_context(clone(server, "before_apply", "before_rollback"))
        assert migrated.yoyo("apply").returncode == 0
        dumps["migrated"] = dump(migrated)
        migrated.execute(ROWS)
        dumps["with rows"] = dump(migrated)
        stack.enter_context(clone(server, "before_rollback", "before_keep"))
        kept = stack.enter_context(clone(server, "before_rollback", "before_restore_kept"))
        assert kept.yoyo("rollback").returncode == 0
        dumps["kept"] = dump(kept)
        assert kept.yoyo("apply").returncode == 0
        dumps["kept and migrated"] = dump(kept)
        yield Ground(server, dumps)


def dump(database: Database) -> str:
    """Without the row that says since when tables are kept."""
    return database.dump("-T", "property_v2_kept.kept")


def process(arguments: tuple[str, ...], environment: dict[str, str], stderr: Path) -> None:
    os.dup2(os.open(stderr, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(PROJECT)
    if "--batch" not in arguments:
        sys.exit(operations_main(arguments))
    sys.exit(yoyo_main(arguments))


# More than half of what yoyo costs is its start. It runs some 300 times here, so each is forked
# from a process that has imported it.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(
    [__name__, "psycopg2", "yoyo.backends.core.postgresql"]
    + [f"yoyo.scripts.{name}" for name in ("init", "migrate", "newmigration")]
)
# Two threads that ask for one process's exit code would take it from each other, and a start
# asks for that of every process.
asking = threading.Lock()


class Yoyo:
    """A running yoyo, or one of our operations, in a process of its own."""

    def __init__(
        self, database: Database, *arguments: str, ours: bool = False, **environment: str
    ) -> None:
        _, *arguments = database.yoyo_command(*arguments)
        if ours or arguments[0] == "restore-kept":
            arguments.remove("--batch")
        handle, name = tempfile.mkstemp()
        os.close(handle)
        self.stderr = Path(name)
        environment = database.env(**environment)
        self.process = processes.Process(target=process, args=(arguments, environment, self.stderr))
        with asking:
            self.process.start()

    def exit_code(self) -> int | None:
        with asking:
            return self.process.exitcode

    def wait(self) -> tuple[int, str]:
        """The exit code, and what it wrote to stderr."""
        deadline = time.monotonic() + 60
        while self.exit_code() is None:
            assert time.monotonic() < deadline, "yoyo did not end"
            time.sleep(0.02)
        if self.stderr.exists():
            self.message = self.stderr.read_text()
            self.stderr.unlink()
        return self.exit_code(), self.message


class Held:
    """A run of yoyo that is held up: after a command, or at one of HOLDS."""

    def __init__(
        self, database: Database, command: str, place: str | int, ours: bool = False
    ) -> None:
        self.database, self.command, self.place = database, command, place
        self.holder = database.connect("postgres")
        self.holder.execute("BEGIN")
        self.holder.execute(HOLDS.get(place, "SELECT pg_advisory_xact_lock(1)"))
        options = [
            database.environment.get("PGOPTIONS", ""),
            "-c strike.commit=on" if place == COMMIT else "",
            "-c strike.at=" + str(place).replace(" ", r"\ "),
        ]
        verb = "rollback" if command == "keep" else command
        self.run = Yoyo(database, verb, ours=ours, PGOPTIONS=" ".join(options))
        self.pid = self._held_up()

    def _held_up(self) -> int | None:
        """Process of the session that is held up; None when the run came to its end."""
        pid = self.holder.info.backend_pid
        where = f"{pid} = ANY(pg_blocking_pids(pid))"
        if self.place == COMMIT:
            where = "wait_event = 'SyncRep'"
        deadline = time.monotonic() + 60
        with self.database.connect("postgres") as watcher:
            while True:
                assert time.monotonic() < deadline, f"it does not come to {self.place}"
                ended = self.run.exit_code() is not None
                found = watcher.execute(
                    "SELECT pid FROM pg_stat_activity"
                    f" WHERE datname = current_database() AND {where}"
                ).fetchone()
                if found or ended:
                    return found[0] if found else None
                time.sleep(0.02)

    def terminate(self, where: str) -> None:
        ended = self.database.superuser(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
            f" WHERE datname = current_database() AND usename = 'bestays' AND {where}"
        )
        assert ended == [(True,)]

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

    def wait(self) -> tuple[int, str]:
        """Waits until the run and its sessions are gone; its exit code and stderr."""
        result = self.run.wait()
        sessions = (
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND usename = 'bestays'"
        )
        deadline = time.monotonic() + 60
        with self.database.connect("postgres") as watcher:
            while watcher.execute(sessions).fetchone() != (0,):
                assert time.monotonic() < deadline, "a session goes on without its client"
                time.sleep(0.05)
        return result


def check_state(database: Database, verdict: str, lock: str | tuple[str, ...]) -> None:
    code, found = database.state()
    assert found[MIGRATION]["found"].split(":")[0] == verdict
    assert found["yoyo lock"]["found"].startswith(lock)
    is_kept = "kept tables" in found
    assert is_kept == database.value("SELECT to_regnamespace('property_v2_kept') IS NOT NULL")
    is_free = found["yoyo lock"]["found"] == "free"
    assert code == (0 if (verdict, is_free, is_kept) == ("applied", True, False) else 1)


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
        command = command[2].replace("migrate", "apply").split()
        code, message = Yoyo(database, *command).wait()
        assert code == 0, message
    raise AssertionError(f"no way out: {found}")


def strike(held: Held, how: str) -> None:
    if how == "SIGKILL":
        held.run.process.kill()
        if held.place == COMMIT:
            # It cannot notice: the commit is on disk already, and waits for the standby.
            subject = "kept tables" if held.command == "restore-kept" else MIGRATION
            found = held.database.state()[1][subject]
            assert f"running now: pid {held.pid} of bestays" in found["found"]
            held.database.execute(found["what_to_do"].split(": ", 1)[1])
        if held.place != MARK:
            held.wait()  # it stops by itself
    elif how == "Ctrl-C":
        os.kill(held.run.process.pid, signal.SIGINT)
    elif how == "session terminated":
        held.terminate(f"pid = {held.pid}")
    elif how == "bookkeeping session terminated":
        held.terminate(f"application_name NOT LIKE '{MIGRATION}%'")
    elif how == "disk full":
        held.fill_disk(8192)
    held.release()


def aftermath(ground: Ground, held: Held, how: str) -> None:
    """Nothing is lost or half done, state says what it is, and its way out works."""
    database, command = held.database, held.command
    code, message = held.wait()
    assert code != 0, "the run was not struck"
    if how == "disk full":
        assert "File too large" in message
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
    locked = locked and command in BY_YOYO
    # A server that stops may end yoyo's two sessions one after the other.
    either = ("left behind by", "free") if how == "server stopped" else "left behind by"
    check_state(database, verdict, either if locked else "free")
    follow_the_way_out(database)
    has_rows = verdict == "applied" or command == "keep"
    assert dump(database) == ground.dumps["with rows" if has_rows else "migrated"]


@contextmanager
def held(ground: Ground, case: tuple[str, str, str]) -> Iterator[Held]:
    command, place, how = case
    # While it takes a NOTICE of the server, psycopg2 alone loses a Ctrl-C; our commands wait for
    # the server in Python.
    ours = (command, how) == ("keep", "Ctrl-C")
    with ground.database(command) as database:
        run = Held(database, command, place, ours)
        try:
            assert run.pid, run.run.wait()
            yield run
        finally:
            run.release()
            run.run.process.kill()
            run.run.wait()
            # One that waits for a standby would not let the database be dropped.
            database.superuser(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )


def one(ground: Ground, case: tuple[str, str, str]) -> None:
    for _ in range(3):
        with held(ground, case) as run:
            strike(run, case[2])
            if case[2] == "Ctrl-C" and run.wait()[0] == 0:
                continue  # lost, as in every_statement
            return aftermath(ground, run, case[2])
    raise AssertionError("three times Ctrl-C was not noticed")


def all_at_once(ground: Ground, how: str, pool: ThreadPoolExecutor) -> dict[tuple, Future]:
    with ExitStack() as stack:
        cases = [case for case in CASES if case[2] == how]
        runs = list(pool.map(lambda case: stack.enter_context(held(ground, case)), cases))
        if how == "server stopped":
            ground.server.stop("immediate")
            ground.server.start(SETTINGS)
        else:
            for run in runs:
                run.fill_disk(0)
            runs[0].release()
            runs[0].run.wait()
            up_again(runs[0].database)
        for run in runs:
            run.release()
        futures = [pool.submit(aftermath, ground, run, how) for run in runs]
        for future in futures:
            future.exception()
        return dict(zip(cases, futures))


def up_again(database: Database) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(psycopg.OperationalError):
            database.superuser("SELECT")
            return
        time.sleep(0.05)
    raise AssertionError("the server did not come up again")


def every_statement(ground: Ground, worker: int) -> list[int]:
    """Strikes after every third command of apply, by SIGKILL and Ctrl-C in turn.

    Returns:
        The numbers of the commands after which it struck.
    """
    struck, lost = [], 0
    with ground.database("apply") as database:
        before = database.value(CATALOG)
        while True:
            number = worker + 3 * len(struck) + 1
            run = Held(database, "apply", number)
            if not run.pid:
                break
            how = ("SIGKILL", "Ctrl-C")[(number + (ground.server.version == 16)) % 2]
            strike(run, how)
            if run.wait()[0] == 0 and how == "Ctrl-C":
                # Python can lose a KeyboardInterrupt, in a callback of its own; then all is done.
                lost += 1
                assert lost < 10, "Ctrl-C is not noticed"
                assert database.state()[0] == 0
                assert Yoyo(database, "rollback").wait()[0] == 0
                continue
            assert run.wait()[0] != 0
            assert database.value(CATALOG) == before, f"{how} after command {number}"
            check_state(database, "not applied", "left behind by" if how == "SIGKILL" else "free")
            if how == "SIGKILL":
                assert Yoyo(database, "break-lock").wait()[0] == 0
            struck.append(number)
        run.release()
        assert run.wait() == (0, "")
        assert database.state()[0] == 0
        assert database.dump() == ground.dumps["migrated"]
    return struck


def two_at_the_same_moment(ground: Ground) -> None:
    with clone(ground.server, "unmigrated") as database:
        runs = [Yoyo(database, "apply") for _ in range(2)]
        assert [run.wait() for run in runs] == [(0, ""), (0, "")]
        assert database.state()[0] == 0


def second_while_the_first_waits(ground: Ground) -> None:
    """The second gives up; even after a break-lock, which it advises, it breaks nothing."""
    with held(ground, ("apply", USERS_WAIT, "")) as first:
        database = first.database
        pid = first.run.process.pid
        code, message = Yoyo(database, "apply").wait()
        assert code != 0
        assert f"Process {pid} has locked this database" in message
        check_state(database, "running now", f"held by process {pid}")
        assert Yoyo(database, "break-lock").wait()[0] == 0
        code, message = Yoyo(database, "apply").wait()
        assert code != 0
        assert "LockNotAvailable" in message
        first.release()
        assert first.wait() == (0, "")
        assert database.state()[0] == 0
        assert database.dump() == ground.dumps["migrated"]


@pytest.fixture(scope="module")
def outcomes(servers, tmp_path_factory) -> Iterator[dict[tuple, Future]]:
    server = Server(18, tmp_path_factory.mktemp("data") / "data")
    server.start(SETTINGS)
    with ExitStack() as stack:
        stack.callback(server.stop, "immediate")
        server.bootstrap("unmigrated")
        on_18 = stack.enter_context(ground(server))
        on_16 = stack.enter_context(ground(servers[1]))
        pool = stack.enter_context(ThreadPoolExecutor(8))
        done = {("second", ""): pool.submit(second_while_the_first_waits, on_18)}
        for worker, here in itertools.product(range(3), (on_18, on_16)):
            version = f"pg{here.server.version}"
            done[version, worker] = pool.submit(every_statement, here, worker)
        done |= {c: pool.submit(one, on_18, c) for c in CASES if c[2] not in ALL_AT_ONCE}
        done["same moment", ""] = pool.submit(two_at_the_same_moment, on_18)
        for future in done.values():
            future.exception()
        for how in ALL_AT_ONCE:
            done |= all_at_once(on_18, how, pool)
        yield done


@pytest.mark.parametrize("version", ["pg18", "pg16"])
def test_apply_struck_after_every_statement_by_SIGKILL_and_Ctrl_C(outcomes, version):
    struck = sorted(n for worker in range(3) for n in outcomes[version, worker].result())
    _, _, statements = read_sql_migration(str(MIGRATIONS / f"{MIGRATION}.sql"))
    # SET and DO are no commands of their own, but the function, its comment and the foreign
    # keys, which are made in DO, are.
    kinds = [re.sub(r"(?m)^--.*\n|\n", "", s).split()[0] for s in statements]
    expected = sum(kind not in ("SET", "DO") for kind in kinds) + 3
    assert struck == list(range(1, expected + 1))


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_struck(outcomes, case):
    outcomes[case].result()


def test_two_applies_at_the_same_moment(outcomes):
    outcomes["same moment", ""].result()


def test_a_second_apply_while_the_first_waits_and_a_third_after_break_lock(outcomes):
    outcomes["second", ""].result()


# From here on: a dump and an import, in a copy of the project, whose folder backups is its own.
MANY_ROWS = """
INSERT INTO properties (title, description, transaction_type, property_type, rent_price, created_by)
SELECT n, (SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 40) WHERE n > 0),
    'rent', 'villa', 1, 1 FROM generate_series(1, 15000) AS n;
"""
SIGNALS = {"SIGKILL": signal.SIGKILL, "Ctrl-C": signal.SIGINT}
CLIENTS = "application_name IN ('pg_dump', 'psql', 'python -m validation')"
WAYS = (*SIGNALS, "session terminated")


class Operations:
    """Runs `python -m operations` on two databases: full, and empty to import into."""

    def __init__(self, folder: Path, full: Database, empty: Database) -> None:
        self.folder, self.full, self.empty = folder, full, empty
        full.execute(USERS)
        full.execute(MANY_ROWS)
        empty.execute(USERS)
        empty.superuser(HOLD_IMPORT)
        ignored = shutil.ignore_patterns("data", "__pycache__")
        for name in ("operations", "validation", "migrations", "local_postgres"):
            shutil.copytree(PROJECT / name, folder / name, ignore=ignored)
        shutil.copy(PROJECT / "yoyo.ini", folder)

    def start(self, database: Database, *arguments: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", "operations", *arguments, "-d", database.url],
            cwd=self.folder, env=database.env(), text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def files(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "backups").glob("*"))


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
def operations(servers, tmp_path_factory) -> Iterator[Operations]:
    with clone(servers[0], "migrated") as full, clone(servers[0], "migrated") as empty:
        yield Operations(tmp_path_factory.mktemp("project"), full, empty)


def poll(database: Database, sql: str, process: subprocess.Popen | None = None) -> None:
    """Waits until the superuser finds a row, while the process runs."""
    deadline = time.monotonic() + 60
    with database.connect("postgres") as watcher:
        while not watcher.execute(sql).fetchone():
            assert process is None or process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, sql
            time.sleep(0.01)


def strike_clients(database: Database, process: subprocess.Popen, how: str) -> None:
    if how in SIGNALS:
        os.killpg(process.pid, SIGNALS[how])
    else:
        database.superuser(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE"
            " datname = current_database() AND application_name IN ('pg_dump', 'psql')"
        )


def check_end(database: Database, process: subprocess.Popen, how: str) -> None:
    """It says in a sentence that it failed, unless it was killed, and leaves no session."""
    _, message = process.communicate(timeout=60)
    assert process.returncode == (-signal.SIGKILL if how == "SIGKILL" else 2), message
    assert "Traceback" not in message
    assert bool(message) == (how != "SIGKILL")
    poll(
        database,
        "SELECT 1 WHERE NOT EXISTS (SELECT FROM pg_stat_activity"
        f" WHERE datname = current_database() AND {CLIENTS})",
    )


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("command", ["backup-db", "export-data"])
def test_dump_struck_half_way(operations, command, how):
    before = operations.files()
    dump = operations.start(operations.full, command)
    copying = "SELECT 1 FROM pg_stat_progress_copy WHERE datname = current_database()"
    poll(operations.full, f"{copying} AND tuples_processed > 0", dump)
    strike_clients(operations.full, dump, how)
    check_end(operations.full, dump, how)
    left = [name for name in operations.files() if name not in before]
    assert all(name.endswith(".partial") for name in left), "half a dump looks like a whole one"
    assert how == "SIGKILL" or not left, "it did not clean up"
    assert operations.full.state()[0] == 0


@pytest.fixture(scope="module")
def export(operations) -> Path:
    dump = operations.start(operations.full, "export-data")
    _, message = dump.communicate(timeout=60)
    assert dump.returncode == 0, message
    (name,) = [name for name in operations.files() if name.endswith(".data")]
    return operations.folder / "backups" / name


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("place", IMPORT_HOLDS)
def test_import_struck_half_way_leaves_nothing_of_it(operations, export, place, how):
    database = operations.empty
    before = database.dump()
    with database.connect("postgres") as holder, holder.transaction():
        holder.execute(IMPORT_HOLDS[place])
        importing = operations.start(database, "import-data", "--from", str(export))
        held_up = f"{holder.info.backend_pid} = ANY(pg_blocking_pids(pid))"
        poll(database, f"SELECT 1 FROM pg_stat_activity WHERE {held_up}", importing)
        strike_clients(database, importing, how)
        importing.wait(60)
    check_end(database, importing, how)
    assert database.dump() == before
    assert database.state()[0] == 0


def test_after_all_that_the_import_brings_every_row(operations, export):
    importing = operations.start(operations.empty, "import-data", "--from", str(export))
    _, message = importing.communicate(timeout=60)
    assert importing.returncode == 0, message
    every_row = "SELECT md5(string_agg(p::text, '' ORDER BY id)) FROM properties AS p"
    assert operations.empty.value(every_row) == operations.full.value(every_row)
