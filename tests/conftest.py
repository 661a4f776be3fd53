"""Two embedded servers, PostgreSQL 16 and 18, and for each test a database of its own.

Everything runs as bestays, who is no superuser, unless a test asks for the superuser.
"""

from __future__ import annotations

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
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from pytest_postgresql.janitor import DatabaseJanitor

from local_postgres.server import VERSIONS, Server
from validation.__main__ import main as validation

PROJECT = Path(__file__).resolve().parent.parent
MIGRATIONS = PROJECT / "migrations"
TABLES = (
    "amenities", "amenity_translations", "policies", "policy_translations",
    "properties", "property_translations",
)  # fmt: skip

# A shell lets what it runs in the background ignore Ctrl-C, and so would all that the tests strike.
signal.signal(signal.SIGINT, signal.default_int_handler)
printing = threading.Lock()  # one thread at a time has its output redirected
names = (f"test_{n}" for n in itertools.count())


class Database:
    """One database, and what an operator can do with it."""

    def __init__(self, server: Server, name: str, user: str = "bestays") -> None:
        self.server, self.name, self.user = server, name, user
        self.host = str(server.socket_folder)
        self.environment: dict[str, str] = {}
        self.deadline: float | None = 300  # seconds for one command

    @property
    def url(self) -> str:
        return f"postgresql://{self.user}@/{self.name}?host={self.host}"

    def connect(self, user: str | None = None, **options) -> psycopg.Connection:
        return psycopg.connect(
            host=self.host, dbname=self.name, user=user or self.user, autocommit=True, **options
        )

    def execute(self, sql: str, parameters=None, user: str | None = None) -> list[tuple]:
        with self.connect(user) as connection:
            cursor = connection.execute(sql, parameters)
            return cursor.fetchall() if cursor.description else []

    def value(self, sql: str, parameters=None):
        return self.execute(sql, parameters)[0][0]

    def superuser(self, sql: str) -> list[tuple]:
        return self.execute(sql, user="postgres")

    def wait_for(self, sql: str, what: str, seconds: float = 60) -> list[tuple]:
        """Waits until the superuser finds a row, and returns all that it found."""
        return wait_for(lambda: self.superuser(sql), what, seconds)

    def run(
        self, *command: str, cwd: Path = PROJECT, **environment: str
    ) -> subprocess.CompletedProcess:
        """Runs a command in the project, without any PostgreSQL program on the PATH."""
        return subprocess.run(
            command, cwd=cwd, env=self.env(**environment), capture_output=True, text=True,
            timeout=self.deadline,
        )  # fmt: skip

    def start(self, *command: str, **environment: str) -> subprocess.Popen:
        return subprocess.Popen(
            command, cwd=PROJECT, env=self.env(**environment), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def env(self, **more: str) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        path = str(Path(sys.executable).parent)
        return {**kept, "PATH": path, "NO_COLOR": "1", **self.environment, **more}

    def yoyo_command(self, *arguments: str) -> tuple[str, ...]:
        return ("yoyo", *arguments, "--batch", "-d", self.url)

    def yoyo(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        return self.run(*self.yoyo_command(*arguments), **environment)

    def validation(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        command, *rest = arguments
        return self.run(
            sys.executable, "-m", "validation", command, "-d", self.url, *rest, **environment
        )

    def state(self) -> tuple[int, dict[str, dict]]:
        """Exit code and findings of `python -m validation state`, in this process: it is quick."""
        output = io.TextIOWrapper(io.BytesIO())
        with printing, redirect_stdout(output):
            code = validation(["state", "-d", self.url, "--format", "json"])
        output.seek(0)
        return code, {r["check"]: r for r in json.load(output)["results"]}

    def psql(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        return self.run(
            self.server.program("psql"), "-X", "-h", self.host, "-U", self.user, self.name,
            *arguments, **environment,
        )  # fmt: skip

    def dump(self, *arguments: str) -> str:
        """What pg_dump writes, without yoyo's own tables and without the run's random key."""
        done = self.run(
            self.server.program("pg_dump"), "-h", self.host, "-U", "postgres", self.name,
            "-T", "*.*yoyo*", *arguments,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return re.sub(r"(?m)^\\(un)?restrict .*\n", "", done.stdout)

    def tables(self) -> set[str]:
        """Which of the six tables exist in public."""
        found = self.execute(
            "SELECT relname FROM pg_class WHERE relname = ANY(%s)"
            " AND relnamespace = 'public'::regnamespace", [list(TABLES)],
        )  # fmt: skip
        return {name for (name,) in found}


def wait_for(condition: Callable[[], object], what: str, seconds: float = 60):
    """Waits until a condition holds, and returns what it gave.

    Args:
        what: what is waited for, as the end of "waited in vain: …".

    Raises:
        AssertionError: it did not hold in that time.
    """
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s in vain: {what}"
        time.sleep(0.05)
    return result


def fill(database: Database) -> None:
    """Adds the rows of nasty_rows.sql: some in each table, and 500 properties."""
    done = database.psql("-q", "-1", "-v", "ON_ERROR_STOP=1", "-f", "tests/nasty_rows.sql")
    assert done.returncode == 0, done.stderr


def rows(database: Database) -> dict[str, tuple[int, str]]:
    """Of each of the six tables, how many rows it holds and a checksum over all their columns."""
    every = "SELECT count(*), md5(string_agg(t::text, E'\\n' ORDER BY t.id::text COLLATE \"C\"))"
    return {table: database.execute(f"{every} FROM {table} AS t")[0] for table in TABLES}


def copy_of_the_project(folder: Path, *left_out: str) -> Path:
    """Copies the checkout without what is made in it; its .venv is the installed environment."""
    made = (".git", ".venv", "data", "backups", "__pycache__", *left_out)
    shutil.copytree(PROJECT, folder, ignore=shutil.ignore_patterns(*made))
    (folder / ".venv").symlink_to(PROJECT / ".venv")
    return folder


@contextmanager
def clone(server: Server, template: str, name: str | None = None) -> Iterator[Database]:
    """A copy of a template: "unmigrated", or "migrated" (after `yoyo apply`, empty)."""
    name = name or next(names)
    janitor = DatabaseJanitor(
        user="postgres", host=str(server.socket_folder), port=5432, dbname=name,
        template_dbname=template,
    )  # fmt: skip
    with janitor:
        database = Database(server, name)
        database.superuser(f"ALTER DATABASE {name} OWNER TO bestays")
        yield database


@pytest.fixture(scope="session")
def servers(tmp_path_factory) -> Iterator[list[Server]]:
    """A running server of each version, with the two templates."""
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
            migrated = stack.enter_context(clone(server, "unmigrated", "migrated"))
            done = migrated.yoyo("apply")
            assert done.returncode == 0, done.stderr
            servers.append(server)
        yield servers


LAST = "test_gives_up_after_a_minute_names_who_is_in_the_way_and_leaves_nothing"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.name == LAST)


@dataclass
class Wait:
    """A migration beside a transaction that never ends."""

    database: Database
    before: str
    blocker: int
    migration: subprocess.Popen
    verdict: str


@pytest.fixture(scope="session", autouse=True)
def endless_waits(request, servers) -> Iterator[list[Wait]]:
    """Both versions, both ways, for the last test; they wait their minute beside all others."""
    with ExitStack() as stack:
        waits = []
        ways = (("unmigrated", "apply", "not applied"), ("migrated", "rollback", "applied"))
        wanted = any(item.name == LAST for item in request.session.items)
        for server, way in itertools.product(servers if wanted else (), ways):
            template, command, verdict = way
            database = stack.enter_context(clone(server, template))
            database.execute("INSERT INTO users (email) VALUES ('a@example.com')")
            before = database.dump()
            blocker = stack.enter_context(database.connect(application_name="nightly report"))
            stack.enter_context(blocker.transaction())
            blocker.execute("UPDATE users SET full_name = 'A'")
            migration = database.start(*database.yoyo_command(command))
            waits.append(Wait(database, before, blocker.info.backend_pid, migration, verdict))
        yield waits


@pytest.fixture(params=range(len(VERSIONS)), ids=lambda i: f"pg{VERSIONS[i]}")
def server(request, servers) -> Server:
    return servers[request.param]


@pytest.fixture
def newest(servers) -> Server:
    """The server of a module that imports it as `server`: nothing there depends on the version."""
    return servers[0]


@pytest.fixture
def unmigrated(server) -> Iterator[Database]:
    with clone(server, "unmigrated") as database:
        yield database


@pytest.fixture
def migrated(server) -> Iterator[Database]:
    with clone(server, "migrated") as database:
        yield database
