"""A run names one database: all its sessions go there with the same parameters, or none.

On servers of PostgreSQL 17 and later a trigger notes who logs in, and with which options.
"""

import re
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain, repeat
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingUnixStreamServer
from tempfile import TemporaryDirectory

import pytest

from common.database import LOOKING
from local_postgres.server import Server

from .conftest import SECRET, Database, Done, clone, copy_of_the_project, refused, rows, well
from .conftest import newest as server  # noqa: F401
from .test_operations import command_lines_watched

VISITS = """
SET ROLE bestays;
CREATE TABLE visits AS SELECT ''::text AS application, ''::text AS seen LIMIT 0;
RESET ROLE;
CREATE FUNCTION note_visit() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
    IF session_user <> 'postgres' THEN
        INSERT INTO public.visits
        SELECT current_setting('application_name'), current_setting('property_v2.seen', true);
    END IF;
END;
$$;
CREATE EVENT TRIGGER note_visit ON login EXECUTE FUNCTION note_visit();
"""
PROGRAMS = ("psql", "pg_dump", "pg_restore")
SESSIONS = {"python -m operations", "python -m validation", "yoyo", "psql", "pg_dump"}
WITHOUT_TLS = """for a; do shift; set -- "$@" "$(echo "$a" | sed s/sslmode=require//)"; done\n"""


@pytest.fixture
def elsewhere(servers) -> Iterator[Database]:
    """Another database, with rows, where every visit leaves a row; nobody changes it."""
    with clone(servers[0], "filled") as database:
        database.superuser(VISITS)
        with database.unchanged():
            yield database


def leftovers(database: Database, folder: Path) -> dict[str, str]:
    """What a shell has that worked on a database before, and a service of that name too."""
    services = folder / "leftover.services"
    services.write_text(
        f"[bestays_other]\nhost={database.host}\ndbname={database.name}\nuser=bestays\n"
        "hostaddr=127.0.0.1\nport=6543\n"
    )
    return {
        "PGSERVICEFILE": str(services), "PGSERVICE": "bestays_other", "PGHOST": database.host,
        "PGHOSTADDR": "127.0.0.1", "PGPORT": "6543", "PGDATABASE": database.name,
        "PGUSER": "postgres", "PGOPTIONS": "-c property_v2.seen=shell",
    }  # fmt: skip


def test_plain_targets_are_for_the_local_database(in_checkout, elsewhere):
    shell = Database(elsewhere.server, elsewhere.name)
    shell.environment = leftovers(elsewhere, in_checkout)
    line = "Not used for the local database: "
    try:
        for target, expected in (
            ("check", "checks passed"), ("dry-run", "0001_property_v2"),
            ("migrate", "checks passed"), ("validate", "checks passed"),
            ("state", "0001_property_v2      applied"), ("monitor", "Tables that a rollback kept"),
            ("sample-data N=20", "20 properties"), ("queries", ""),
            ("export-data", "20 properties"), ("backup-db", "backups/bestays-"),
            ("rollback", "\nmake migrate\nmake restore-kept\n"), ("migrate", "make restore-kept"),
            ("restore-kept", "20 properties"), ("rollback", "Kept"), ("migrate", "Kept"),
            ("drop-kept YES=1", "20 properties"), ("import-data", "from"), ("psql", ""),
            ("state PGSERVICE=bestays_other", "0001_property_v2      applied"),
        ):  # fmt: skip
            done = shell.make(*target.split())
            well(done, expected)
            (said,) = [text for text in done.stderr.splitlines() if text.startswith(line)]
            assert all(name in said for name in shell.environment)
    finally:
        shell.make("stop")


@pytest.mark.parametrize("named", ["url", "service", "shell"])
def test_what_names_it_is_not_completed_from_the_shell(in_checkout, filled, elsewhere, named):
    """Only where a URL leaves the options open, those of the shell reach every session."""
    filled.superuser(VISITS)
    shell, seen = leftovers(elsewhere, in_checkout), f"-c property_v2.seen={named}"
    if named == "service":
        operator = filled.by_service(more=f"options={seen}\n")
        shell |= operator.environment
    else:
        operator = Database(filled.server, filled.name)
        operator.url = f"postgresql://bestays@:5432/{filled.name}?host={filled.host}"
        operator.url += f"&options={seen.replace(' ', '%20')}" if named == "url" else ""
    operator.environment = shell
    with command_lines_watched() as lines:
        for verb in ("check", "dry-run", "validate", "state", "monitor", "backup-db", "rollback",
                     "migrate", "restore-kept"):  # fmt: skip
            if named == "service":
                well(operator.make(f"{verb}-test"))
            elif verb in LOOKING:
                well(operator.validation(verb))
            else:
                well(operator.operations(verb))
    visits = filled.superuser("SELECT DISTINCT application, seen FROM visits")
    assert sorted(visits) == sorted((application, named) for application in SESSIONS)
    assert any(f"property_v2.seen={named}" in line for line in lines if "pg_dump" in line)
    assert not [line for line in lines if SECRET in line]


@pytest.mark.parametrize(
    ("given", "variable"),
    [
        ("sslmode=prefer", {"PGSSLMODE": "require"}),  # which the bundled psql does not know
        ("target_session_attrs=any", {"PGTARGETSESSIONATTRS": "standby"}),
    ],
)
def test_what_a_url_says_holds_also_where_it_is_the_default(in_checkout, migrated, given, variable):
    migrated.url += f"&{given}"
    for verb in ("rollback", "migrate"):
        well(migrated.operations(verb, **variable))


@pytest.mark.parametrize("choice", ["target_session_attrs=read-write", "load_balance_hosts=random"])
def test_of_two_hosts_all_sessions_take_the_one_that_was_reached(in_checkout, servers, choice):
    newer, older = (clone(server, "unmigrated", "test_two_hosts") for server in servers)
    with newer as first, older as other:
        if "read-write" in choice:
            first.prefer("default_transaction_read_only = on")
        first.url = f"postgresql://bestays@/{first.name}?host={first.host},{other.host}&{choice}"
        for verb in ("migrate", "migrate", "rollback"):  # where random, not the same one each time
            well(first.operations(verb))
        if "read-write" in choice:
            assert not first.value("SELECT to_regclass('_yoyo_migration')")


@contextmanager
def balancer(one: Database, other: Database, first: int) -> Iterator[str]:
    """A host that leads so many sessions to the first database, and all others to the second."""
    hosts = chain(repeat(one.host, first), repeat(other.host))

    class Lead(BaseRequestHandler):
        def handle(self) -> None:
            with socket.socket(socket.AF_UNIX) as upstream, suppress(OSError):  # a side has gone
                upstream.connect(f"{next(hosts)}/.s.PGSQL.5432")
                there = {self.request: upstream, upstream: self.request}
                while True:
                    for ready in select.select([*there], [], [])[0]:
                        if not (data := ready.recv(65536)):
                            return
                        there[ready].sendall(data)

    with (
        TemporaryDirectory() as folder,  # short, for a socket
        ThreadingUnixStreamServer(f"{folder}/.s.PGSQL.5432", Lead) as server,
    ):
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder
        server.shutdown()


@pytest.mark.parametrize(
    ("verb", "template", "first", "said"),
    [
        ("migrate", "unmigrated", 1, "No set of psql, pg_dump, pg_restore of PostgreSQL 18"),
        ("backup-db", "migrated", 1, "reaches another database): install the client"),
        ("rollback", "migrated", 1, "yoyo rollback was not run: it reaches another database."),
        ("sample-data 10", "migrated", 1, "No set of psql"),
        # The programs were seen to reach it, and the session that writes is itself another.
        ("sample-data 10", "migrated", 2, " failed: it reaches another database."),
        ("import-data", "migrated", 2, " failed: it reaches another database."),
        # In the session that reached it
        ("restore-kept", "filled", 1, None),
        ("drop-kept --yes", "filled", 1, None),
    ],
)
def test_what_would_reach_another_server_is_not_run(
    in_checkout, servers, verb, template, first, said
):
    options = verb.split()
    with ExitStack() as stack:
        if verb == "import-data":
            filled = stack.enter_context(clone(servers[0], "filled"))
            well(filled.operations("export-data"))
            options += ["--from", str(filled.backups()[0])]
        one, other = (stack.enter_context(clone(s, template, "test_balanced")) for s in servers)
        for database in (one, other):
            if "kept" in verb:
                database.roll_back()
                database.apply()
            database.prefer("property_v2.allow_data_loss = on")
        before = one.dump()
        with other.unchanged(), balancer(one, other, first) as host:
            balanced = Database(one.server, one.name)
            balanced.url = f"postgresql://bestays@/{one.name}?host={host}"
            done = balanced.operations(*options)
        if said:
            refused(done, said)
        else:
            well(done)
        assert (one.dump() == before) == bool(said)


class Clients:
    """Sets of programs in folders for the PATH, which note in a file how they were called."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "log"
        self.log.touch()

    def add(self, name: str, of: Server, first: str = "") -> str:
        """A set of a server's programs, which do something first."""
        path = self.folder / name
        path.mkdir()
        for program in PROGRAMS:
            (path / program).write_text(
                f"#!/bin/sh\necho {name} {program} $* >> '{self.log}'\n{first}"
                f"exec '{of.program(program)}' \"$@\"\n"
            )
            (path / program).chmod(0o755)
        return str(path)

    def called(self, name: str) -> set[str]:
        """Of a set, which programs were run for more than their version."""
        lines = (line.split() for line in self.log.read_text().splitlines())
        return {line[1] for line in lines if line[0] == name and line[2] != "--version"}


def backup(database: Database, cwd: Path, *folders: str, **environment: str) -> Done:
    path = ":".join((*folders, database.env()["PATH"], "/bin"))
    return database.operations("backup-db", cwd=cwd, PATH=path, **environment)


@pytest.fixture
def bare(tmp_path) -> Path:
    """A copy of the project without the bundled programs."""
    return copy_of_the_project(tmp_path / "bare", "local_postgres")


@pytest.mark.parametrize(
    ("program", "text"),
    [
        ("pg_dump", "#!/bin/sh\necho pg_dump '(PostgreSQL)' 18.0"),
        ("pg_dump", "#!/bin/sh\necho pg_dump '(PostgreSQL)' devel"),
        ("pg_dump", "\0"),
        ("psql", "#!/bin/sh\nexec '{real}' \"$@\" -d 'host={host} user=bestays dbname=postgres'"),
    ],
    ids=["another minor version", "no version", "cannot run", "another database"],
)
def test_a_set_with_an_unfit_program_is_passed_over(migrated, bare, program, text):
    clients = Clients(bare)
    unfit, fit = (clients.add(name, migrated.server) for name in ("unfit", "fit"))
    real = migrated.server.program(program)
    Path(unfit, program).write_text(text.format(real=real, host=migrated.host))
    well(backup(migrated, bare, unfit, fit))
    assert (clients.called("unfit"), clients.called("fit")) == (set(), set(PROGRAMS))


def test_a_server_of_16_takes_no_client_of_18(servers, bare):
    clients = Clients(bare)
    newer = clients.add("newer", servers[0])
    with clone(servers[1], "migrated") as database:
        done = backup(database, bare, newer)
        refused(done, "of PostgreSQL 16 that reaches", "as postgresql-client-16.")
        assert not clients.called("newer")
        well(backup(database, bare, newer, clients.add("fit", servers[1])))


def test_a_client_without_tls_is_not_taken_for_tls(in_checkout, unmigrated, tmp_path):
    """The bundled programs have none; over the socket, libpq asks for none in the end."""
    clients = Clients(tmp_path)
    with_tls = clients.add("with_tls", unmigrated.server, WITHOUT_TLS)
    with unmigrated.unchanged():
        unmigrated.url += "&sslmode=require"
        done = unmigrated.operations("migrate")
    refused(done, "SSL support is not compiled in", "install the client")
    well(backup(unmigrated, in_checkout, with_tls))
    assert clients.called("with_tls") == set(PROGRAMS)
    assert re.search("pg_dump .*sslmode=require", clients.log.read_text())


def test_secrets_reach_the_programs_and_no_command_line(filled, bare):
    """Nor does what a shell has of libpq; what they print is read, so it is in English."""
    clients = Clients(bare)
    seen = f'grep -q "sslpassword={SECRET}" "$PGSERVICEFILE" && [ "$PGTZ$LC_ALL$LC_MESSAGES" = C ]'
    fit = clients.add("fit", filled.server, f'[ "$1" = --version ] || {{ {seen}; }} || exit 1\n')
    filled.url += f"&sslpassword={SECRET}"
    well(backup(filled, bare, fit, LC_ALL="de_DE.UTF-8", PGTZ="Asia/Bangkok"))
    assert clients.called("fit") == set(PROGRAMS)
    assert SECRET not in clients.log.read_text()  # with what arguments they were called


def test_a_program_that_was_killed_is_named(migrated, bare):
    killed = '[ "$1" = -Fc ] && kill -9 $$\n'
    fit = Clients(bare).add("fit", migrated.server, killed)
    refused(backup(migrated, bare, fit), "Backup failed: pg_dump was ended by signal 9.")


@pytest.mark.parametrize("named", ["service", "url"])
def test_ways_out_can_be_pasted(in_checkout, filled, named):
    before = rows(filled)
    url = f"postgresql://bestays:{SECRET}@/{filled.name}?host={filled.host}"
    url += f"&password={SECRET}&sslpassword={SECRET}"
    ours = "make {}-test" if named == "service" else "python -m operations {} -d '{}'"

    def paste(line: str) -> list[str]:
        done = filled.by_service().run("sh", "-c", line)
        well(done)
        assert SECRET not in done.stdout + done.stderr
        return done.stdout.splitlines()

    lines = paste(ours.format("rollback", url))
    verbs = ("migrate", "restore-kept", "drop-kept")
    *back, last = (ours.format(verb, filled.url) for verb in verbs)
    assert lines[-4:] == [*back, "Or, to give them up:", last]
    for line in back:
        paste(line)
    assert rows(filled) == before
