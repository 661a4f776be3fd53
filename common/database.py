"""One connection, and how every command says which database it is about.

The URLs, the default and the driver are yoyo's, so that both reach the same database.
"""

import configparser
import contextlib
import os
import re
import select
import shlex
import shutil
import sys
import time
from pathlib import Path
from urllib.parse import quote, urlsplit

import psycopg2
from psycopg2 import extensions
from psycopg2.extras import NamedTupleCursor
from yoyo.config import find_config, read_config
from yoyo.connections import BadConnectionURI, parse_uri

WAYS_IN = {
    "No such file|Connection refused|starting up|shutting down":
        "start the server (the local one: make migrate), or name another with -d.",
    "definition of service": "put it into ~/.pg_service.conf.",
    "password": "put the right one into ~/.pgpass, or name another user with -d.",
    "database .* does not exist": "create it, or name another with -d.",
    "startup parameter": "connect to the server itself, not through a pooler.",
    "": "look at -d, PGSERVICE and the other PG... variables.",
}  # fmt: skip
HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent
# A lost line is noticed within seconds, by the kernel of either side.
PARAMETERS = {
    "keepalives_idle": "5", "keepalives_interval": "2", "keepalives_count": "3",
    "tcp_user_timeout": "11000", "client_encoding": "UTF8",
}  # fmt: skip
# For the URL of a make target: make VERB-ENVIRONMENT
ENVIRONMENT = re.compile(r"postgresql://\?service=bestays_([\w.-]+)")
LOOKING = ("check", "validate", "monitor", "state", "dry-run", "queries")  # others change


class Unusable(Exception):
    """What was asked for cannot be done; the text says in one sentence why and what to do."""


class Connection(extensions.connection):
    """A connection that knows how it was named.

    Attributes:
        url: the URL that named it, None for that of yoyo.ini; without its password.
        silence: seconds after which a server that says nothing is given up; None for never.
    """

    url: str | None = None
    silence: float | None = 90

    def look(self, query: str | Path, **settings: str) -> list[tuple]:
        """The rows of the last statement of a query or file, to be called by their columns, too.

        It sees the settings as property_v2.NAME. Outside a transaction it is undone.
        """
        is_idle = self.info.transaction_status == extensions.TRANSACTION_STATUS_IDLE
        with self.cursor(cursor_factory=NamedTupleCursor) as cursor:
            try:
                for setting in settings.items():
                    cursor.execute("SELECT set_config('property_v2.' || %s, %s, true)", setting)
                cursor.execute(query.read_text("utf-8") if isinstance(query, Path) else query)
                return cursor.fetchall()
            finally:
                if is_idle and not self.closed:
                    self.rollback()

    def on_a_cluster(self, command: str) -> bool:
        """Whether our tables are on a Citus cluster; says what the command can do there.

        Unusable: nothing, or this is a worker.
        """
        ((is_citus,),) = self.look("SELECT to_regclass('pg_dist_partition') IS NOT NULL")
        found = self.look(HERE / "citus.sql") if is_citus else []
        sayings = {about: said for about, *said in found}
        can_run, said = sayings.get("worker") or sayings.get(command) or (True, None)
        if not can_run:
            raise Unusable(said)
        if said:
            print(said, file=sys.stderr)
        return bool(sayings)

    def ours(self, verb: str, options: str = "") -> str:
        """The command line of one of our commands on this database, whole enough to paste."""
        target = self.url and ENVIRONMENT.fullmatch(self.url)
        if target or not self.url:
            for option, variable in (("--no-backup", "BACKUP=no"), ("--explain ", "EXPLAIN=")):
                options = options.replace(option, variable)
            return f"make {verb}{f'-{target[1]}' if target else ''} {options}".rstrip()
        package = "validation" if verb in LOOKING else "operations"
        command = f"python -m {package} {verb} {options}".rstrip()
        return f"{command} -d {shlex.quote(self.url)}"

    def yoyo(self, command: str) -> str:
        """The command line of a command of yoyo on this database."""
        return f"yoyo {command}" + (f" -d {shlex.quote(self.url)}" if self.url else "")

    def here(self, text: str | None) -> str | None:
        """A text whose `make VERB`, and `yoyo COMMAND` on a line of its own, are for this one."""
        ours = r"\bmake (migrate|rollback|validate|state|[a-z]+-kept)(?![\w-])"
        text = re.sub(ours, lambda match: self.ours(match[1]), text or "")
        return re.sub(r"(?m)^yoyo (.*)$", lambda match: self.yoyo(match[1]), text) or None


def wait(connection: extensions.connection) -> None:
    """Waits for the server as psycopg2 wants it, but listens to signals and not for ever."""
    began, waited = time.monotonic(), 0.0
    try:
        while (state := connection.poll()) != extensions.POLL_OK:
            file = [connection.fileno()]
            reads, writes = (file, []) if state == extensions.POLL_READ else ([], file)
            if any(select.select(reads, writes, [], 1)):
                continue
            waited = time.monotonic() - began
            silence = getattr(connection, "silence", None)
            if silence and waited > silence:
                said = f"The server has not answered for {waited:.0f} s: the line is cut."
                raise Unusable(f"{said} Try again when it is back.")
            show(f"{waited:.0f} s ...")
    finally:
        if waited:
            show("")


def show(line: str) -> None:
    """Shows a line on a terminal, in the place of the one before."""
    if sys.stderr and sys.stderr.isatty():
        print(f"\r\033[K{line[:99]}", end="", file=sys.stderr, flush=True)


def sentence(error: object) -> str:
    """What PostgreSQL or one of its programs said, in one line: message, detail and hint.

    Where it arose is left out, and a hint to CASCADE, which nobody should follow.
    """
    if isinstance(error, psycopg2.Error) and error.diag.message_primary:
        said = error.diag
        parts = [said.message_primary, said.message_detail, said.message_hint]
    else:
        where = r"^(LINE \d+|CONTEXT|QUERY|\w+: detail): .*?(?=^\w+:  |\Z)|\s*This probably .*"
        text = re.sub(where, "", str(error), flags=re.DOTALL | re.MULTILINE)
        text = re.sub(r"(?m)^(psql:.*?:\d+: |\w+: error: )|(ERROR|FATAL):  ", "", text)
        parts = re.split(r"(?m)^(?:DETAIL|HINT):  ", text)
    lines = [" ".join(part.split()).rstrip("?. ") for part in parts if part]
    return ". ".join(line for line in lines if line and "CASCADE" not in line)


def settings() -> dict[str, str]:
    """Of yoyo.ini: sources, database, migration_table; Unusable: there is none, or it is broken."""
    path = find_config() or PROJECT / "yoyo.ini"
    try:
        return dict(read_config(str(path))["DEFAULT"])
    except (OSError, UnicodeError, configparser.Error) as error:
        raise Unusable(
            f"Cannot read {path}: {' '.join(str(error).split())}. Mend it (a % is written %%), or "
            "run this in the project's folder."
        ) from error


def sources() -> list[str]:
    """The folders of the migrations, as yoyo takes them."""
    return [str(PROJECT / s) for s in settings().get("sources", "migrations").split()]


def connect(url: str | None = None, application_name: str = "python -m validation") -> Connection:
    """Opens a connection whose transactions are never committed.

    The URL is as `yoyo -d` takes it; the database of yoyo.ini when None. libpq's environment
    (PGAPPNAME, PGSERVICE, PGOPTIONS, ...) holds for what it leaves open; where it names a host or
    a service, PGSERVICE and PGHOSTADDR do not, for the whole process.

    Unusable: the URL is wrong, the server does not let us in, or not into schema public, or a
    pooler stands before it.
    """
    try:
        uri = parse_uri(url or settings().get("database", "postgresql://"))
        if uri.scheme not in ("postgresql", "postgres"):
            raise BadConnectionURI
        if uri.hostname or uri.args.keys() & {"host", "hostaddr", "service"}:
            for variable in ("PGSERVICE", "PGHOSTADDR"):  # would lead to another place
                os.environ.pop(variable, None)
        given = {"fallback_application_name": application_name, **PARAMETERS}
        if "PGCONNECT_TIMEOUT" not in os.environ:
            given["connect_timeout"] = "10"
        # As yoyo's backend puts them together
        named = {"user": uri.username, "password": uri.password, "host": uri.hostname}
        named = {k: v for k, v in {**named, "port": uri.port, "dbname": uri.database}.items() if v}
        extensions.set_wait_callback(None)  # libpq minds its own time-out
        given = {**given, **uri.args, **named}
        connection = psycopg2.connect(connection_factory=Connection, **given)
        extensions.set_wait_callback(wait)
    except (BadConnectionURI, ValueError) as error:  # a password may stand in it
        said = "That is not a database URL: give -d postgresql://user@host:port/database."
        raise Unusable(said) from error
    except psycopg2.Error as error:
        reason = sentence(error)
        way_in = next(WAYS_IN[symptom] for symptom in WAYS_IN if re.search(symptom, reason))
        raise Unusable(f"Cannot connect ({reason}): {way_in}") from error
    connection.url = _without_password(url) if url else None
    ((process,),) = connection.look("SELECT pg_backend_pid()")
    if process != connection.info.backend_pid:  # nothing is set that others would find
        connection.close()
        raise Unusable(
            "A connection pooler answers here, behind which a session is not one's own: "
            "connect to the server itself, by its own host and port."
        )
    free = ""  # on the server's disk, where that is of this machine
    if (connection.info.host or "").startswith("/"):
        with contextlib.suppress(OSError):  # a backend works in the data directory
            free = str(shutil.disk_usage(f"/proc/{process}/cwd").free)
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT set_config('property_v2.free_bytes', %s, false)", [free])
        cursor.execute((HERE / "session.sql").read_text("utf-8"))
        if refusal := cursor.fetchone():
            raise Unusable(*refusal)
    return connection


def interrupted(error: BaseException | None) -> bool:
    """Whether an error only followed from a signal, whose KeyboardInterrupt it hides."""
    while error and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    if url == "postgresql://" and "PGSERVICE" in os.environ:
        return f"postgresql://?service={quote(os.environ['PGSERVICE'])}"
    user, at, place = parts.netloc.rpartition("@")
    query = re.sub(r"&?\b(ssl)?password=[^&]*", "", parts.query)
    return f"postgresql://{user.partition(':')[0]}{at}{place}{parts.path}{query and f'?{query}'}"
