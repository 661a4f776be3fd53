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
import time
from functools import cached_property
from pathlib import Path

import psycopg2
from psycopg2.extensions import TRANSACTION_STATUS_IDLE, make_dsn
from yoyo import exceptions, read_migrations
from yoyo.backends import get_backend_class
from yoyo.connections import DatabaseURI

from common.database import (
    Connection,
    Unusable,
    connect,
    interrupted,
    migration_table,
    open_connection,
    sentence,
)  # fmt: skip
from validation.state import sources

logging.getLogger("yoyo").addHandler(logging.NullHandler())  # its errors are said by ours
HERE = Path(__file__).resolve().parent
PROGRAMS = ("psql", "pg_dump", "pg_restore")
# What libpq fills in by itself; an older program may not know the parameter.
DEFAULTS = {
    "channel_binding": "prefer", "gssdelegation": "0", "gssencmode": "prefer",
    "krbsrvname": "postgres", "load_balance_hosts": "disable", "max_protocol_version": "latest",
    "min_protocol_version": "3.0", "ssl_min_protocol_version": "TLSv1.2", "sslcertmode": "allow",
    "sslcompression": "0", "sslmode": "prefer", "sslnegotiation": "postgres", "sslsni": "1",
    "target_session_attrs": "any",
}  # fmt: skip
IDENTITY = "SELECT system_identifier::text, current_database() FROM pg_control_system()"


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
        self.connection = connect(url, "python -m operations")
        info = self.connection.info
        given = info.dsn_parameters
        service = re.search(r"[?&]service=([^&]+)", self.connection.url or "")
        self.name = service[1] if service else info.dbname
        given.pop("service", None)
        given = {k: v for k, v in given.items() if v}
        if "," in given.get("host", ""):  # of several, the one that was reached
            given.pop("hostaddr", None)
            given["host"], given["port"] = info.host, str(info.port)
        given["options"] = f"{given.get('options', '')} -c idle_session_timeout=0".strip()
        self.parameters = given
        with self.connection.cursor() as cursor:
            cursor.execute(IDENTITY)
            self.identity = cursor.fetchone()
        self.connection.rollback()

    @property
    def environment(self) -> dict[str, str]:
        """For programs: nothing of libpq's but the password, which a command line would show."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        if self.connection.info.password:
            clean["PGPASSWORD"] = self.connection.info.password
        return clean

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
        fitting, reasons = {}, []
        for folder in folders:
            versions = {_version(folder / program) for program in PROGRAMS}
            major = int(min(versions).partition(".")[0] or 0)
            if len(versions) == 1 and (major == server or 17 <= server <= major):
                fitting.setdefault(major, []).append(folder)
        for folder in (folder for major in sorted(fitting) for folder in fitting[major]):
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

    def run(
        self, doing: str, program: str, *arguments: object, here: bool = True, **options
    ) -> str:
        """Runs a program on this database to its end, and shows on a terminal what it is at.

        Args:
            doing: what it does, for the progress and for an error.
            here: whether it connects to this database.
            options: further arguments of subprocess.Popen.

        Returns:
            What it printed.

        Raises:
            Failed: it ended with an error; the text has its message.
        """
        given = {k: v for k, v in self.parameters.items() if DEFAULTS.get(k) != v}
        there = ("-d", make_dsn(**given)) if here else ()
        process = subprocess.Popen(
            [str(program), *map(str, arguments), *there], env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
        )  # fmt: skip
        began = time.monotonic()
        terminal = sys.stderr.isatty()
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    output, message = process.communicate(timeout=1)
                    break
                if terminal:
                    line = f"{doing}: {time.monotonic() - began:.0f} s {self._progress()}"
                    print(f"\r\033[K{line[:99]}", end="", file=sys.stderr, flush=True)
        finally:
            process.terminate()
            if terminal:
                print("\r\033[K", end="", file=sys.stderr, flush=True)
        if process.returncode < 0:
            name = signal.Signals(-process.returncode).name
            raise Failed(f"{doing} failed: {Path(program).name} was ended by {name}.")
        if process.returncode:
            raise Failed(f"{doing} failed: {self.reason(message)}")
        return output

    def _progress(self) -> str:
        is_idle = self.connection.info.transaction_status == TRANSACTION_STATUS_IDLE
        with contextlib.suppress(psycopg2.Error), self.connection.cursor() as cursor:
            cursor.execute((HERE / "progress.sql").read_text(encoding="utf-8"))
            line = (cursor.fetchone() or ("",))[0]
            if is_idle:  # else it is the transaction of an export
                self.connection.rollback()
            return line
        return ""

    def reason(self, error: object, reads: bool = False) -> str:
        """What a program or the server said, and for a lock that was not to be had, who has it."""
        reason = sentence(error) or "it did not say why"
        reads = reads or "LOCK TABLE" in str(error)  # by pg_dump
        waited = reads or "lock timeout" in reason or "no lock on" in reason
        if waited and "; in the way: " not in reason:
            with contextlib.suppress(psycopg2.Error), self.connection.cursor() as cursor:
                cursor.execute((HERE / "in_the_way.sql").read_text(encoding="utf-8"))
                found = [f"{who} ({user}, {application or 'no application name'}, open for {age})"
                         for application, who, user, age, shuts_out_readers in cursor
                         if shuts_out_readers or not reads]  # fmt: skip
                self.connection.rollback()
                reason += f". In the way: {', '.join(found) or 'nobody any more'}"
        # What SQL says of the local database holds for this one.
        ours = r"\bmake (migrate|[a-z]+-kept)\b"
        reason = re.sub(ours, lambda match: self.connection.ours(match[1]), reason)
        return reason if reason.endswith(";") else f"{reason}."  # a statement, to be pasted

    def session(self) -> Connection:
        """Another session there, for what changes something."""
        password = self.connection.info.password or None
        return open_connection(None, **self.parameters, password=password)

    def execute(self, doing: str, *names: str) -> None:
        """Runs SQL files of this folder in one transaction, by a session of their own.

        Raises:
            Failed: one of them failed; nothing is changed.
            psycopg2.errors.DatatypeMismatch: the definitions of tables differ.
        """
        session = self.session()
        try:
            with session.cursor() as cursor:
                cursor.execute(IDENTITY)
                if cursor.fetchone() != self.identity:
                    raise Failed(f"{doing} was not run: it reaches another database.")
                session.rollback()
                for name in ("transaction.sql", *names):
                    cursor.execute((HERE / name).read_text(encoding="utf-8"))
            session.commit()
        except psycopg2.errors.DatatypeMismatch:
            raise
        except psycopg2.Error as error:
            if interrupted(error):
                raise KeyboardInterrupt from error
            raise Failed(f"{doing} failed: {self.reason(error)}") from error
        finally:
            session.close()

    def yoyo(self, command: str) -> None:
        """Does what `yoyo apply --batch` or `yoyo rollback --batch` does, in this process.

        Raises:
            Failed: it failed.
        """
        info = self.connection.info
        arguments = {**self.parameters, "application_name": "yoyo"}
        # A rollback by these commands loses no row, whatever a shell or the database says.
        arguments["options"] += " -c property_v2.allow_data_loss=off"
        uri = DatabaseURI(
            "postgresql",
            None,
            info.password or None,
            None,
            None,
            arguments.pop("dbname"),
            arguments,
        )
        try:
            with get_backend_class("postgresql")(uri, migration_table()) as backend:
                if backend.execute(IDENTITY).fetchone() != self.identity:
                    raise Failed(f"yoyo {command} was not run: it reaches another database.")
                backend.init_database()
                with backend.lock():
                    migrations = read_migrations(*sources())
                    if command == "apply":
                        backend.apply_migrations(backend.to_apply(migrations))
                    else:
                        backend.rollback_migrations(backend.to_rollback(migrations)[:1])
        except exceptions.LockTimeout as error:
            way_out = f"{self.connection.ours('state')} says whose it is"
            raise Failed(f"yoyo {command} failed: yoyo's lock is taken; {way_out}.") from error
        except psycopg2.Error as error:
            # yoyo may have lost the session with which it would have let go of its lock.
            with contextlib.suppress(psycopg2.Error), contextlib.closing(self.session()) as session:
                with session.cursor() as cursor:
                    cursor.execute("DELETE FROM yoyo_lock WHERE pid = %s", [os.getpid()])
                session.commit()
            if interrupted(error):
                raise KeyboardInterrupt from error
            raise Failed(f"yoyo {command} failed: {self.reason(error)}") from error


def _version(program: Path) -> str:
    """Such as 18.4; empty for what is not there, or does not say."""
    with contextlib.suppress(OSError, UnicodeDecodeError):  # not there, or of another machine
        said = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
        if match := re.search(r"\d+\.\d+", said):
            return match[0]
    return ""
