"""Two embedded servers, PostgreSQL 16 and 18, and for each test a database of its own.

Everything runs as bestays, who is no superuser, unless a test asks for the superuser.
"""

import io
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from functools import cache
from pathlib import Path
from subprocess import CompletedProcess as Done
from subprocess import Popen as Process

import psycopg
import pytest

from local_postgres.server import VERSIONS, Server
from validation import expectation
from validation.__main__ import main as validation

from .forks import PROJECT, Fork

MIGRATIONS = PROJECT / "migrations"
TABLES = expectation.tables()
# Beside later migrations only what holds for all of them is run here; the rest is about the first,
# and make test runs it in a copy with the first alone.
OF_ALL = ("docs", "house", "migrations", "mutations", "schema")
LATER = [p.name for p in MIGRATIONS.glob("*.sql") if not p.name.startswith("0001")]
if LATER:
    tests = {path.name for path in Path(__file__).parent.glob("test_*.py")}
    collect_ignore = sorted(tests - {f"test_{name}.py" for name in OF_ALL})
DEADLINE = 180  # seconds for a statement, a wait, or the end of a command
BEFORE_ALL = ("PYTHON", "LC_", "LANG")  # variables that Python reads when it starts
# Of the sessions of the tests themselves, whatever a database prefers
LIMITS = {"statement": f"{DEADLINE}s", "idle_session": 0, "idle_in_transaction_session": 0}
PATIENCE = " ".join(f"-c {what}_timeout={limit}" for what, limit in LIMITS.items())
# Of this run alone: another beside it may show its own.
SECRET = f"not-to-be-seen-in-any-command-line-{os.getpid()}"
ALLOWED = {"PGOPTIONS": "-c property_v2.allow_data_loss=on"}
LOCK_USERS = "LOCK TABLE users IN ROW EXCLUSIVE MODE"  # as every write of users does
SESSIONS = """
SELECT {} FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend'
    AND pid <> pg_backend_pid() AND ({})
"""

# A shell lets what it runs in the background ignore Ctrl-C, and nohup the end of a terminal; and so
# would all that the tests strike.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
printing = threading.Lock()  # one thread at a time has its output redirected
names = (f"test_{n}" for n in itertools.count())


class Database:
    """One database, and what an operator can do with it."""

    # Of commands
    deadline: float | None = DEADLINE
    forks = True  # those of Python start sooner, which is not to be measured
    cwd = PROJECT

    def __init__(self, server: Server, name: str, user: str = "bestays") -> None:
        self.server, self.name, self.user = server, name, user
        self.host = str(server.socket_folder)
        # How commands come here
        self.url = f"postgresql://{user}@/{name}?host={self.host}"
        self.environment: dict[str, str] = {}

    def by_service(self, name: str = "bestays_test", more: str = "") -> "Database":
        """It as commands know it by that service, which has the SECRET as password."""
        known = Database(self.server, self.name, self.user)
        file = self.cwd / f"{name}.services"
        place = f"host={self.host}\nuser={self.user}\ndbname={self.name}\n"
        file.write_text(f"[{name}]\n{place}password={SECRET}\n{more}")
        known.url, known.environment = f"postgresql://?service={name}", {"PGSERVICEFILE": str(file)}
        return known

    # By sessions

    def connect(self, user: str | None = None, **options) -> psycopg.Connection:
        return psycopg.connect(
            host=self.host, dbname=self.name, user=user or self.user, autocommit=True,
            connect_timeout=DEADLINE, **{"options": PATIENCE, **options},
        )  # fmt: skip

    def execute(self, sql: str, parameters=None, user: str | None = None) -> list[tuple]:
        with self.connect(user) as connection:
            cursor = connection.execute(sql, parameters)
            return cursor.fetchall() if cursor.description else []

    def value(self, sql: str, parameters=None):
        return self.execute(sql, parameters)[0][0]

    def superuser(self, sql: str) -> list[tuple]:
        return self.execute(sql, user="postgres")

    def prefer(self, setting: str) -> None:
        """Sessions begin with that setting from now on."""
        self.superuser(f"ALTER DATABASE {self.name} SET {setting}")

    @contextmanager
    def holding(
        self, statement: str = LOCK_USERS, user: str | None = None, name: str = "nightly report"
    ) -> Iterator[int]:
        """The process id of a session whose transaction stays open, and is rolled back then."""
        with (
            self.connect(user, application_name=name) as session,
            session.transaction(force_rollback=True),
        ):
            session.execute(statement)
            yield session.info.backend_pid

    def wait_for(self, sql: str, what: str, process: Process | None = None) -> list[tuple]:
        """Waits until the superuser finds a row, and returns all that it found."""
        with self.connect("postgres") as watcher:
            return wait_for(lambda: watcher.execute(sql).fetchall(), what, process)

    def wait_for_session(self, where: str, what: str, process: Process | None = None) -> int:
        """The process id of a session of this database, once pg_stat_activity shows it so."""
        return self.wait_for(SESSIONS.format("pid", where), what, process)[0][0]

    def wait_until_alone(self, where: str = "true") -> None:
        """Waits until no other session, or none of those, is left in this database."""
        sql = f"SELECT 1 WHERE NOT EXISTS ({SESSIONS.format('pid', where)})"
        self.wait_for(sql, f"no session is left where {where}")

    def terminate(self, where: str = "true") -> int:
        """Ends all other sessions of this database, or those; returns how many they were."""
        found = self.superuser(SESSIONS.format("pid, pg_terminate_backend(pid)", where))
        self.wait_until_alone(f"pid = ANY(ARRAY{[pid for pid, _ in found]}::integer[])")
        return len(found)

    # By commands

    def env(self, **more: str) -> dict[str, str]:
        """The environment of commands: nothing of libpq's, no PostgreSQL program on the PATH."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        path = f"{self.cwd / 'bin'}:{Path(sys.executable).parent}"
        return {**kept, "PATH": path, "NO_COLOR": "1", **self.environment, **more}

    def run(self, *command: str, cwd: Path | None = None, **environment: str) -> Done:
        return ended(self.start(*command, cwd=cwd, **environment), self.deadline)

    def start(self, *command: str, cwd: Path | None = None, **environment: str) -> Process | Fork:
        """Starts it in a process group of its own; see also ended()."""
        given = {**self.environment, **environment}
        is_python = command[0] == "yoyo" or command[1:2] == ("-m",)
        if self.forks and is_python and not any(name.startswith(BEFORE_ALL) for name in given):
            return Fork(command, self.env(**given), cwd or self.cwd)
        return Process(
            command, cwd=cwd or self.cwd, env=self.env(**given), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def start_until(self, where: str, what: str, *command: str) -> Process | Fork:
        """Starts it, and waits until pg_stat_activity shows a session of this database so."""
        process = self.start(*command)
        self.wait_for_session(where, what, process)
        return process

    def yoyo_command(self, *arguments: str) -> tuple[str, ...]:
        return ("yoyo", *arguments, "--batch", "-d", self.url)

    def our_command(self, module: str, verb: str, *arguments: str) -> tuple[str, ...]:
        return ("python", "-m", module, verb, "-d", self.url, *arguments)

    def yoyo(self, *arguments: str, **environment: str) -> Done:
        return self.run(*self.yoyo_command(*arguments), **environment)

    def apply(self, **environment: str) -> None:
        well(self.yoyo("apply", **environment))

    def roll_back(self, **environment: str) -> None:
        well(self.yoyo("rollback", **environment))

    def validation(self, *arguments: str, **more) -> Done:
        return self.run(*self.our_command("validation", *arguments), **more)

    def operations(self, *arguments: str, **more) -> Done:
        return self.run(*self.our_command("operations", *arguments), **more)

    def make(self, *arguments: str) -> Done:
        return self.run("make", *arguments)

    def look(self, command: str, *options: str) -> tuple[int, list[dict]]:
        """Exit code and findings of `python -m validation …`, in this process: it is quick."""
        output = io.TextIOWrapper(io.BytesIO())
        with printing, redirect_stdout(output):
            code = validation([command, *options, "-d", self.url, "--format", "json"])
        output.seek(0)
        document = json.load(output)
        return code, document.get("results", document)

    def state(self) -> tuple[int, dict[str, dict]]:
        code, results = self.look("state")
        return code, {r["check"]: r for r in results}

    def psql_command(self, *arguments: str) -> tuple[str, ...]:
        psql = self.server.program("psql")
        return (psql, "-X", "-h", self.host, "-U", self.user, self.name, *arguments)

    def psql(self, *arguments: str, **environment: str) -> Done:
        return self.run(*self.psql_command(*arguments), **environment)

    def script(self, file: Path | str, **environment: str) -> Done:
        """Runs an SQL file by psql in one transaction, as the files say."""
        strictly = ("-q", "-1", "-v", "ON_ERROR_STOP=1", "-f", str(file))
        return self.psql(*strictly, **environment)

    def dump(self, *arguments: str) -> str:
        """What pg_dump writes, without yoyo's own tables and without the run's random key."""
        done = self.run(
            self.server.program("pg_dump"), "-h", self.host, "-U", "postgres", self.name,
            "-T", "*.*yoyo*", *arguments,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return re.sub(r"(?m)^\\(un)?restrict .*\n", "", done.stdout)

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Whatever the block does: what pg_dump writes is the same afterwards."""
        before = self.dump()
        yield
        assert self.dump() == before

    def backups(self, pattern: str = "*") -> list[Path]:
        """The dumps and exports in backups/, by their names."""
        return sorted((self.cwd / "backups").glob(pattern))

    def tables(self) -> set[str]:
        """Which of our tables exist in public."""
        here = "relnamespace = 'public'::regnamespace AND relname = ANY(%s)"
        found = self.execute(f"SELECT relname FROM pg_class WHERE {here}", [TABLES])
        return {name for (name,) in found}


def behind(pid: int) -> str:
    """The sessions that wait for that one, for wait_for_session() and terminate()."""
    return f"{pid} = ANY(pg_blocking_pids(pid))"


def wait_for(condition: Callable[[], object], what: str, process: Process | None = None):
    """Waits until a condition holds, and returns what it gave; a process has to run until then.
    What is waited for is said as the end of "waited in vain: …".
    """
    deadline = time.monotonic() + DEADLINE
    while not (result := condition()):
        if process and process.poll() is not None:
            raise AssertionError(f"it ended before this: {what}; {process.communicate()}")
        assert time.monotonic() < deadline, f"waited {DEADLINE} s in vain: {what}"
        time.sleep(0.02)
    return result


def ended(process: Process | Fork, seconds: float | None = DEADLINE) -> Done:
    """Waits for the end of a process, or kills it: its exit code and what it printed."""
    try:
        output, message = process.communicate(timeout=seconds)
    finally:
        process.kill()
    return Done(process.args, process.returncode, output, message)


def well(done: Done, *expected: str) -> None:
    """It succeeded, and printed that."""
    assert done.returncode == 0, done.stdout + done.stderr
    for text in expected:
        assert text in done.stdout


def refused(done: Done, *said: str, code: int = 2) -> None:
    """It failed and said why, in one sentence."""
    assert done.returncode == code, done.stdout + done.stderr
    (sentence,) = done.stderr.splitlines()
    for text in said:
        assert text in sentence


def fill(database: Database) -> None:
    """Adds the rows of development/rows.sql: some in each table, and 500 properties."""
    well(database.script("development/rows.sql"))


def rows(database: Database, schema: str = "public") -> dict[str, tuple[int, str]]:
    """Of each of our tables, how many rows it holds and a checksum over all their columns."""
    every = "SELECT count(*), md5(string_agg(t::text, E'\\n' ORDER BY t.id::text COLLATE \"C\"))"
    return {t: database.execute(f"{every} FROM {schema}.{t} AS t")[0] for t in TABLES}


@contextmanager
def changed(file: Path, old: str, new: str) -> Iterator[None]:
    """A file with another text in the place of one, until the block ends."""
    text = file.read_text()
    assert text.count(old) == 1, f"{old} in {file}"
    file.write_text(text.replace(old, new))
    try:
        yield
    finally:
        file.write_text(text)


def copy_of_the_project(folder: Path, *left_out: str) -> Path:
    """Copies the checkout without what is made in it, and with the first migration alone; its .venv
    is the installed environment.
    """
    made = (".git", ".venv", "data", "backups", "__pycache__", *left_out, *LATER)
    shutil.copytree(PROJECT, folder, ignore=shutil.ignore_patterns(*made))
    (folder / ".venv").symlink_to(PROJECT / ".venv")
    if LATER:
        subprocess.run([sys.executable, "-m", "development.renew"], cwd=folder, check=True)
    return folder


def create(server: Server, template: str, name: str | None = None) -> Database:
    """A copy of a database, such as the templates of servers(), owned by bestays."""
    database = Database(server, name or next(names))
    as_it = f"TEMPLATE {template} STRATEGY file_copy OWNER bestays"
    Database(server, "postgres").superuser(f"CREATE DATABASE {database.name} {as_it}")
    return database


@contextmanager
def clone(server: Server, template: str, name: str | None = None) -> Iterator[Database]:
    """Such a copy, until the block ends."""
    database = create(server, template, name)
    try:
        yield database
    finally:
        drop = f"DROP DATABASE IF EXISTS {database.name} WITH (FORCE)"
        Database(server, "postgres").superuser(drop)


@pytest.fixture(scope="session")
def checkout(tmp_path_factory) -> Path:
    """A copy of the project with backups of its own, and a folder bin with what make needs."""
    folder = copy_of_the_project(tmp_path_factory.mktemp("a checkout") / "project")
    (folder / "bin").mkdir()
    for tool in ("make", "sh", "sed", "awk", "uname", "dirname", "basename"):
        (folder / "bin" / tool).symlink_to(shutil.which(tool))
    return folder


@pytest.fixture
def in_checkout(checkout, monkeypatch) -> Path:
    """Commands run in that copy, which has no backups yet."""
    shutil.rmtree(checkout / "backups", ignore_errors=True)
    monkeypatch.setattr(Database, "cwd", checkout)
    return checkout


@pytest.fixture(scope="session")
def servers(tmp_path_factory) -> Iterator[list[Server]]:
    """A running server of each version. Its templates are "unmigrated", "migrated" (after `yoyo
    apply`, empty) and "filled" (with the rows of fill()).
    """
    with ExitStack() as stack:
        servers = []
        for version in VERSIONS:
            server = Server(version, tmp_path_factory.mktemp("data") / "data")
            server.start(
                {
                    "fsync": "off",  # a test survives a killed server, not a power cut
                    "max_prepared_transactions": "5",
                    "autovacuum_naptime": "5s",
                    "shared_buffers": "16MB",  # many short sessions start and end faster
                }
            )
            stack.callback(server.stop, "immediate")
            server.bootstrap("unmigrated")
            stack.enter_context(clone(server, "unmigrated", "migrated")).apply()
            fill(stack.enter_context(clone(server, "migrated", "filled")))
            servers.append(server)
        yield servers


LAST = "test_gives_up_after_a_minute_names_who_is_in_the_way_and_leaves_nothing"


@cache
def is_ours(tests: str) -> bool:
    """Whether this run takes these tests: of those beside each other (make test), the first."""
    if "TESTS_TAKEN" in os.environ:
        try:
            Path(os.environ["TESTS_TAKEN"], tests).touch(exist_ok=False)
        except FileExistsError:
            return False
    return True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that no run is left alone with one."""
    items.sort(key=lambda item: (item.name == LAST, -item.path.stat().st_size))


def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    return None if is_ours(LAST if item.name == LAST else item.path.name) else True


@pytest.fixture(scope="session", autouse=True)
def endless_waits(request, servers) -> Iterator[list[tuple]]:
    """Migrations beside a transaction that never ends, for the last test: they wait their minute
    beside all others. Of each the database, its dump before, the verdict on the migration, the
    process id of the transaction, and the run of yoyo.
    """
    wanted = any(item.name == LAST for item in request.session.items) and is_ours(LAST)
    ways = (("unmigrated", "apply", "not applied"), ("migrated", "rollback", "applied"))
    with ExitStack() as stack:
        waits = []
        for server, way in itertools.product(servers if wanted else (), ways):
            template, command, verdict = way
            database = stack.enter_context(clone(server, template))
            before = database.dump()
            blocker = stack.enter_context(database.holding())
            migration = database.start(*database.yoyo_command(command))
            waits.append((database, before, verdict, blocker, migration))
        yield waits


@pytest.fixture(params=range(len(VERSIONS)), ids=lambda i: f"pg{VERSIONS[i]}")
def server(request, servers) -> Server:
    return servers[request.param]


@pytest.fixture
def newest(servers) -> Server:
    """The server of a module that imports it as `server`: nothing there depends on the version."""
    return servers[0]


def copy_of(template: str):
    @pytest.fixture(name=template)
    def database(server) -> Iterator[Database]:
        with clone(server, template) as database:
            yield database

    return database


unmigrated, migrated, filled = map(copy_of, ("unmigrated", "migrated", "filled"))
