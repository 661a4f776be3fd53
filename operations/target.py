"""A database, and what runs on it: yoyo, SQL files and PostgreSQL's programs.

All of them get the parameters of the connection that was opened, and nothing else of libpq's.
"""

import contextlib
import logging
import os
import re
import subprocess
import tempfile
import time
from functools import cached_property
from pathlib import Path

import psycopg2
from psycopg2.extensions import make_dsn
from yoyo import exceptions, read_migrations
from yoyo.backends.core.postgresql import PostgresqlBackend
from yoyo.connections import DatabaseURI
from yoyo.migrations import default_migration_table

from common.database import Unusable, connect, sentence, settings, show, sources

logging.getLogger("yoyo").addHandler(logging.NullHandler())  # its errors are said by ours
HERE = Path(__file__).resolve().parent
PROGRAMS = ("psql", "pg_dump", "pg_restore")
# What libpq of 17 and later fills in by itself; an older program does not know the parameter.
NEW_DEFAULTS = {
    "gssdelegation": "0", "max_protocol_version": "latest", "min_protocol_version": "3.0",
    "sslnegotiation": "postgres",
}  # fmt: skip
# No small limit of others ends a session that waits for another, and TCP tells the server that a
# line is lost: its session would keep locks, and look as if it were at work, for hours.
SETTINGS = (
    "idle_session_timeout=0", "tcp_keepalives_idle=5", "tcp_keepalives_interval=2",
    "tcp_keepalives_count=3", "tcp_user_timeout=11000",
)  # fmt: skip
IDENTITY = "SELECT system_identifier::text, current_database() AS database FROM pg_control_system()"


class Target:
    """A database, named as for `python -m validation -d`, and what runs there; or it is Unusable.

    Attributes:
        connection: to it.
        identity: system identifier of the server, and name of the database.
        whose: both by name, and the host.
        name: of its service or, without one, of the database.
        dsn: for programs, without what a command line must not show: that is in os.environ.
        row_counts: JSON of how many rows are to come, by table, for progress.sql.
    """

    row_counts = ""

    def __init__(self, url: str | None) -> None:
        self.connection = connect(url, "python -m operations")
        info = self.connection.info
        given = {k: v for k, v in info.dsn_parameters.items() if v and NEW_DEFAULTS.get(k) != v}
        for name in ("service", "application_name"):  # by theirs, programs are known
            given.pop(name, None)
        service = re.search(r"[?&]service=([^&]+)", self.connection.url or "")
        self.name = service[1] if service else info.dbname
        if "," in given.get("host", ""):  # of several, the one that was reached
            given.pop("hostaddr", None)
            given["host"], given["port"] = info.host, str(info.port)
        given["options"] = " -c ".join([given.get("options", ""), *SETTINGS]).strip()
        for variable in [v for v in os.environ if v.startswith(("PG", "LC_ALL", "LANGUAGE"))]:
            del os.environ[variable]
        os.environ["LC_MESSAGES"] = "C"  # what programs say is read
        os.environ["PGPASSWORD"] = info.password or ""
        if "sslpassword" in given:  # libpq has no variable for it
            file = self._secret = tempfile.NamedTemporaryFile("w")  # noqa: SIM115, gone with self
            file.write(f"[secret]\nsslpassword={given.pop('sslpassword')}\n")
            file.flush()
            os.environ |= {"PGSERVICEFILE": file.name, "PGSERVICE": "secret"}
        self.dsn, self._parameters = make_dsn(**given), given
        (self.identity,) = self.connection.look(IDENTITY)
        self.whose = {**self.identity._asdict(), "host": info.host}
        system, database = (f"{name}={value}" for name, value in self.identity._asdict().items())
        self._same = ("-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-v", system, "-v", database,
                      "-f", HERE / "same.sql")  # fmt: skip

    @cached_property
    def programs(self) -> Path:
        """The folder of one set of psql, pg_dump and pg_restore that reach this database.

        Of the server's major version; from 17 on also a later one, whose dumps it can read.
        Unusable: there is none on this machine.
        """
        server = self.connection.server_version // 10000
        folders = [Path(p) for p in os.get_exec_path() if p]
        folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        with contextlib.suppress(ImportError):  # a machine without the development packages
            from local_postgres.server import POSTGRES_VERSIONS

            folders = [*POSTGRES_VERSIONS.values(), *folders]
        majors, reasons = {folder: _major(folder) for folder in folders}, []
        for folder in sorted(majors, key=majors.get):
            if majors[folder] == server or 17 <= server <= majors[folder]:
                try:
                    self.run("Trying psql", folder / "psql", *self._same)
                    return folder
                except Unusable as failed:
                    reasons.append(f"{folder}: {failed}")
        said = f" ({'; '.join(reasons).rstrip('.')})" if reasons else ""
        raise Unusable(
            f"No set of {', '.join(PROGRAMS)} of PostgreSQL {server} that reaches this database is "
            f"here{said}: install the client of that version, as postgresql-client-{server}."
        )

    def run(self, doing: str, program: Path, *arguments: object, stdin=None) -> str:
        """Runs a program on this database, shows on a terminal what it is at; what it printed.

        Unusable: it ended with an error, whose message the text has, or waited too long.
        """
        began = time.monotonic()
        process = subprocess.Popen(
            [program, *map(str, arguments), "-d", self.dsn], text=True,
            stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    output, message = process.communicate(timeout=1)
                    break
                with contextlib.suppress(psycopg2.Error):  # the end of the program says what it is
                    look = self.connection.look
                    if program.name == "pg_dump" and look(HERE / "waits_in_vain.sql"):
                        raise self.waited(f"{doing} failed: it waited 10 s for a lock")
                    at = sum(look(HERE / "progress.sql", row_counts=self.row_counts), ())
                    show("; ".join([f"{doing}: {time.monotonic() - began:.0f} s", *at]))
        finally:
            process.terminate()
            show("")
        if code := process.returncode:
            ended = f"{program.name} was ended by signal {-code}"
            raise self.failed(doing, message if code > 0 else ended)
        return output

    def psql(self, doing: str, *arguments: object, stdin=None) -> str:
        """Runs psql as run() does; what its own session reaches is proven before it changes it."""
        return self.run(doing, self.programs / "psql", *self._same, *arguments, stdin=stdin)

    def failed(self, doing: str, error: object) -> Unusable:
        """What a program or the server said, with ways out for this database."""
        reason = self.connection.here(sentence(error)) or "it did not say why"
        end = "" if reason.endswith(";") else "."  # a statement, to be pasted
        if isinstance(error, psycopg2.Error) and not error.pgcode:
            # The line was lost, perhaps with the answer to a commit.
            end += f" {self.connection.ours('state')} says where things stand."
        return Unusable(f"{doing} failed: {reason}{end}")

    def waited(self, said: str) -> Unusable:
        """What to say of one who waited in vain to read, with who is in the way."""
        found = sum(self.connection.look(HERE / "in_the_way.sql"), ())
        return Unusable(f"{said}. In the way: {', '.join(found) or 'nobody any more'}.")

    def execute(self, doing: str, statements: str) -> None:
        """Runs SQL in one transaction; Unusable, by its cause, if it failed and changed nothing."""
        self.connection.rollback()  # what it has read must not be in the way
        self.connection.silence = None  # many rows take long
        try:
            with self.connection, self.connection.cursor() as cursor:
                cursor.execute(statements)
        except psycopg2.Error as error:
            # The rollback of a line that is lost fails, too, and hides how it ended.
            hidden = isinstance(error, psycopg2.InterfaceError) and error.__context__
            raise self.failed(doing, hidden or error) from error

    def yoyo(self, command: str, names: list[str]) -> None:
        """Does what `yoyo apply` or `rollback` does, in this process; Unusable if it failed."""
        doing = f"yoyo {command}"
        # A rollback by these commands loses no row, whatever a shell or the database says.
        options = f"{self._parameters['options']} -c property_v2.allow_data_loss=off"
        given = {**self._parameters, "options": options, "application_name": "yoyo"}
        marks = settings().get("migration_table", default_migration_table)
        try:
            with PostgresqlBackend(DatabaseURI("postgresql", *[None] * 5, given), marks) as backend:
                if backend.execute(IDENTITY).fetchone() != self.identity:
                    raise Unusable(f"{doing} was not run: it reaches another database.")
                backend.init_database()
                with backend.lock():
                    migrations = read_migrations(*sources()).filter(lambda m: m.id in names)
                    pending = getattr(backend, f"to_{command}")(migrations)
                    getattr(backend, f"{command}_migrations")(pending)
        except exceptions.LockTimeout as error:
            way_out = f"{self.connection.ours('state')} says whose it is"
            raise Unusable(f"{doing} failed: yoyo's lock is taken; {way_out}.") from error
        except BaseException as error:
            # yoyo may have lost the session with which it would have let go of its lock.
            with contextlib.suppress(psycopg2.Error, Unusable):
                self.execute(doing, f"DELETE FROM yoyo_lock WHERE pid = {os.getpid()}")
            if isinstance(error, psycopg2.Error):
                raise self.failed(doing, error) from error
            raise


def script(name: str) -> str:
    """The text of an SQL file of this folder, with the files that it takes in by \\ir."""
    text = (HERE / name).read_text("utf-8")
    return re.sub(r"(?m)^\\ir (\S+)$", lambda match: script(match[1]), text)


def _major(folder: Path) -> int:
    """The version of the set of programs in a folder; 0 where it is none, or is of several."""
    with contextlib.suppress(OSError, ValueError, IndexError):  # not there, or of another machine
        commands = [[folder / program, "--version"] for program in PROGRAMS]
        said = [subprocess.run(c, capture_output=True, text=True).stdout for c in commands]
        (version,) = {text.split()[2] for text in said}  # psql (PostgreSQL) 18.4
        return int(version.partition(".")[0])
    return 0
