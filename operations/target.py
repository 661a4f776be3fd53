"""A database, and what runs on it: yoyo, SQL files and PostgreSQL's programs.

All of them get the parameters of the connection that was opened, and nothing else of libpq's.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import psycopg2
from psycopg2.extensions import TRANSACTION_STATUS_IDLE, make_dsn
from yoyo import exceptions, read_migrations
from yoyo.backends import get_backend_class
from yoyo.connections import DatabaseURI

from common import database
from common.database import Unusable, interrupted, open_connection, sentence
from validation.state import sources

logging.getLogger("yoyo").addHandler(logging.NullHandler())  # its errors are said by ours
HERE = Path(__file__).resolve().parent
PROGRAMS = ("psql", "pg_dump", "pg_restore")
# What libpq of 17 and later fills in by itself; an older program does not know the parameter.
NEW_DEFAULTS = {
    "gssdelegation": "0", "max_protocol_version": "latest", "min_protocol_version": "3.0",
    "sslnegotiation": "postgres",
}  # fmt: skip
IDENTITY = "SELECT system_identifier::text, current_database() FROM pg_control_system()"
PATIENCE = 10  # seconds for which pg_dump waits for one lock
WAITS = (  # of a dump begun so many seconds ago
    "SELECT pg_stat_clear_snapshot();"
    "SELECT 1 FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE application_name = 'pg_dump'"
    " AND waitstart < clock_timestamp() - make_interval(secs => %s)"
    " AND backend_start > clock_timestamp() - make_interval(secs => %s)"
)


class Failed(Unusable):
    """Something that ran on the database failed; the text says in one sentence what and why."""


class Target:
    """A database and what runs on it.

    Args:
        url: as for `python -m validation -d`.

    Attributes:
        connection: to it; not for what changes anything.
        identity: system identifier of the server, and name of the database.
        name: of its service or, without one, of the database.

    Raises:
        Unusable: it cannot be reached.
    """

    def __init__(self, url: str | None) -> None:
        self.connection = database.connect(url, "python -m operations")
        info = self.connection.info
        given = {k: v for k, v in info.dsn_parameters.items() if v and NEW_DEFAULTS.get(k) != v}
        given.pop("service", None)
        service = re.search(r"[?&]service=([^&]+)", self.connection.url or "")
        self.name = service[1] if service else info.dbname
        if "," in given.get("host", ""):  # of several, the one that was reached
            given.pop("hostaddr", None)
            given["host"], given["port"] = info.host, str(info.port)
        given["options"] = f"{given.get('options', '')} -c idle_session_timeout=0".strip()
        self.parameters = given
        (self.identity,) = self.look(IDENTITY)

    def look(self, query: str, *parameters: object) -> list[tuple]:
        """What a query finds, in the transaction of the connection if one is open."""
        is_idle = self.connection.info.transaction_status == TRANSACTION_STATUS_IDLE
        with self.connection.cursor() as cursor:
            cursor.execute(query, parameters or None)
            found = cursor.fetchall()
        if is_idle:
            self.connection.rollback()
        return found

    @cached_property
    def programs(self) -> Path:
        """The folder of one set of psql, pg_dump and pg_restore that reach this database.

        Of the server's major version; from 17 on also a later one, whose dumps it can read.

        Raises:
            Unusable: there is none on this machine.
        """
        server = self.connection.server_version // 10000
        folders = [Path(p) for p in os.environ.get("PATH", "").split(os.pathsep) if p]
        folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        with contextlib.suppress(ImportError):  # a machine without the development packages
            from local_postgres.server import VERSIONS, Server

            folders = [Server(version).programs for version in VERSIONS] + folders
        fitting, reasons = [], []
        for folder in folders:
            versions = {_version(folder / program) for program in PROGRAMS}
            major = int(min(versions).partition(".")[0] or 0)
            if len(versions) == 1 and (major == server or 17 <= server <= major):
                fitting.append((major, folder))
        for _, folder in sorted(fitting, key=lambda found: found[0]):
            try:
                found = self.run("Trying psql", folder / "psql", "-X", "-At", "-c", IDENTITY)
                if tuple(found.strip().split("|")) == self.identity:
                    return folder
                reasons.append(f"{folder} reaches another database")
            except Failed as failed:
                reasons.append(f"{folder}: {failed}")
        said = f" ({'; '.join(reasons).rstrip('.')})" if reasons else ""
        raise Unusable(
            f"No set of {', '.join(PROGRAMS)} of PostgreSQL {server} that reaches this database is "
            f"here{said}: install the client of that version, as postgresql-client-{server}."
        )

    @property
    def dsn(self) -> str:
        """For programs: the connection string, without what a command line must not show."""
        return make_dsn(**{**self.parameters, "sslpassword": None})

    @cached_property
    def environment(self) -> dict[str, str]:
        """For programs: nothing of libpq's but what the command line, which all see, lacks."""
        others = ("PG", "LC_ALL", "LANGUAGE")
        clean = {k: v for k, v in os.environ.items() if not k.startswith(others)}
        clean["LC_MESSAGES"] = "C"  # what they say is read
        if self.connection.info.password:
            clean["PGPASSWORD"] = self.connection.info.password
        if "sslpassword" in self.parameters:  # libpq has no variable for it
            file = self._secret = tempfile.NamedTemporaryFile("w")  # noqa: SIM115, gone with self
            file.write(f"[secret]\nsslpassword={self.parameters['sslpassword']}\n")
            file.flush()
            clean |= {"PGSERVICEFILE": file.name, "PGSERVICE": "secret"}
        return clean

    def run(self, doing: str, program: Path, *arguments: object, **options) -> str:
        """Runs a program on this database to its end, and shows on a terminal what it is at.

        Args:
            doing: what it does, for the progress and for an error.
            options: further arguments of subprocess.Popen.

        Returns:
            What it printed.

        Raises:
            Failed: it ended with an error, whose message the text has, or waited too long.
        """
        began = time.monotonic()  # before any session of it
        process = subprocess.Popen(
            [str(program), *map(str, arguments), "-d", self.dsn], env=self.environment,
            text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
        )  # fmt: skip
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    output, message = process.communicate(timeout=1)
                    break
                seconds = time.monotonic() - began
                with contextlib.suppress(psycopg2.Error):  # the end of the program says what it is
                    if program.name == "pg_dump" and self.look(WAITS, PATIENCE, seconds):
                        raise self.waited(f"{doing} failed: it waited {PATIENCE} s for a lock")
                    at = self.look((HERE / "progress.sql").read_text(encoding="utf-8"))
                    _show("; ".join([f"{doing}: {seconds:.0f} s", *sum(at, ())]))
        finally:
            process.terminate()
            _show("")
        if process.returncode < 0:
            ended = signal.Signals(-process.returncode).name
            raise Failed(f"{doing} failed: {program.name} was ended by {ended}.")
        if process.returncode:
            raise Failed(f"{doing} failed: {self.reason(message)}")
        return output

    def waited(self, said: str) -> Failed:
        """What to say of one who waited in vain to read, with who is in the way."""
        found = self.look((HERE / "in_the_way.sql").read_text(encoding="utf-8"))
        return Failed(f"{said}. In the way: {', '.join(sum(found, ())) or 'nobody any more'}.")

    def reason(self, error: object) -> str:
        """What a program or the server said, with ways out for this database."""
        reason = self.connection.here(sentence(error)) or "it did not say why"
        return reason if reason.endswith(";") else f"{reason}."  # a statement, to be pasted

    def execute(self, doing: str, script: str) -> None:
        """Runs SQL in one transaction, by a session of its own.

        Raises:
            Failed: it failed, by its cause; nothing is changed.
        """
        self.connection.rollback()  # what it has read must not be in the way
        secret = {"password": self.connection.info.password or None}
        with self._said(doing), contextlib.ExitStack() as stack:
            session = open_connection(None, **self.parameters, **secret)
            stack.callback(session.close)
            cursor = session.cursor()
            cursor.execute(IDENTITY)
            self._same(doing, cursor)
            session.rollback()
            cursor.execute(script)
            session.commit()

    @contextlib.contextmanager
    def _said(self, doing: str) -> Iterator[None]:
        try:
            yield
        except psycopg2.Error as error:
            if interrupted(error):
                raise KeyboardInterrupt from error
            raise Failed(f"{doing} failed: {self.reason(error)}") from error

    def _same(self, doing: str, cursor) -> None:
        if cursor.fetchone() != self.identity:
            raise Failed(f"{doing} was not run: it reaches another database.")

    def yoyo(self, command: str, names: list[str]) -> None:
        """Does what `yoyo apply --batch` or `yoyo rollback --batch` does, in this process.

        Args:
            command: apply or rollback.
            names: of the migrations.

        Raises:
            Failed: it failed.
        """
        doing = f"yoyo {command}"
        arguments = {**self.parameters, "application_name": "yoyo"}
        # A rollback by these commands loses no row, whatever a shell or the database says.
        arguments["options"] += " -c property_v2.allow_data_loss=off"
        password, name = self.connection.info.password or None, arguments.pop("dbname")
        uri = DatabaseURI("postgresql", None, password, None, None, name, arguments)
        try:
            with (
                self._said(doing),
                get_backend_class("postgresql")(uri, database.migration_table()) as backend,
            ):
                self._same(doing, backend.execute(IDENTITY))
                backend.init_database()
                with backend.lock():
                    migrations = read_migrations(*sources()).filter(lambda m: m.id in names)
                    if command == "apply":
                        backend.apply_migrations(backend.to_apply(migrations))
                    else:
                        backend.rollback_migrations(backend.to_rollback(migrations))
        except exceptions.LockTimeout as error:
            way_out = f"{self.connection.ours('state')} says whose it is"
            raise Failed(f"{doing} failed: yoyo's lock is taken; {way_out}.") from error
        except BaseException:
            # yoyo may have lost the session with which it would have let go of its lock.
            with contextlib.suppress(psycopg2.Error, Failed):
                self.execute(doing, f"DELETE FROM yoyo_lock WHERE pid = {os.getpid()}")
            raise


def _show(line: str) -> None:
    """Shows a line on a terminal, in the place of the one before."""
    if sys.stderr.isatty():
        print(f"\r\033[K{line[:99]}", end="", file=sys.stderr, flush=True)


def script(name: str) -> str:
    """The text of an SQL file of this folder, with the files that it takes in by \\ir."""
    text = (HERE / name).read_text(encoding="utf-8")
    return re.sub(r"(?m)^\\ir (\S+)$", lambda match: script(match[1]), text)


def _version(program: Path) -> str:
    """Such as 18.4; empty for what is not there, or does not say."""
    with contextlib.suppress(OSError, UnicodeDecodeError):  # not there, or of another machine
        said = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
        if match := re.search(r"\d+\.\d+", said):
            return match[0]
    return ""
