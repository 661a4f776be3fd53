"""A run names one database: all its sessions go there with the same parameters, or none.

On servers of PostgreSQL 17 and later a trigger notes who logs in, and with which options.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from local_postgres.server import Server

from .conftest import Database, clone, copy_of_the_project, refused, rows, well
from .conftest import newest as server  # noqa: F401
from .test_operations import SECRET, Operator, command_lines_watched

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
OURS = {"python -m operations", "python -m validation"}
PROGRAMS = ("psql", "pg_dump", "pg_restore")
WITHOUT_TLS = """for a; do shift; set -- "$@" "$(echo "$a" | sed s/sslmode=require//)"; done\n"""


@pytest.fixture
def elsewhere(servers) -> Iterator[Database]:
    """Another database, with rows, where every visit leaves a row."""
    with clone(servers[0], "filled") as database:
        database.superuser(VISITS)
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


def visits(database: Database) -> dict[str, set[str]]:
    """Of each application that logged in, with which value of the setting."""
    result: dict[str, set[str]] = {}
    for application, seen in database.superuser("SELECT * FROM visits"):
        result.setdefault(application, set()).add(seen)
    return result


@pytest.fixture
def operations(checkout):
    """Runs one of our commands in the copy, whose backups are its own."""

    def run(database: Database, *arguments: str, url: str = "", **environment: str):
        command = ("python", "-m", "operations", *arguments, "-d", url or database.url)
        return database.run(*command, cwd=checkout, **environment)

    return run


def test_plain_targets_are_for_the_local_database(checkout, elsewhere):
    before = elsewhere.dump()
    operator = Operator(checkout, elsewhere)
    operator.environment = leftovers(elsewhere, checkout)
    line = "Not used for the local database: "
    try:
        for target, expected in (
            ("check", "checks passed"), ("dry-run", "0001_property_v2"),
            ("migrate", "checks passed"), ("validate", "checks passed"),
            ("state", "0001_property_v2      applied"), ("monitor", "Tables that a rollback kept"),
            ("sample-data 20", "20 properties"), ("queries", ""), ("export-data", "20 properties"),
            ("backup-db", "backups/bestays-"),
            ("rollback", "\nmake migrate\nmake restore-kept\n"), ("migrate", "make restore-kept"),
            ("restore-kept", "20 properties"), ("rollback", "Kept"), ("migrate", "Kept"),
            ("drop-kept YES=1", "20 properties"), ("import-data", "from"),
            ("state PGSERVICE=bestays_other", "0001_property_v2      applied"),
        ):  # fmt: skip
            done = operator.make(*re.sub(r" (\d+)", r" N=\1", target).split())
            well(done, expected)
            (said,) = [text for text in done.stderr.splitlines() if text.startswith(line)]
            assert all(name in said for name in operator.environment)
        done = operator.make("psql")
        well(done)
        assert line in done.stderr
    finally:
        operator.make("stop")
    assert elsewhere.dump() == before


def test_a_url_is_not_completed_from_the_shell(operations, filled, elsewhere, tmp_path):
    before = elsewhere.dump()
    filled.superuser(VISITS)
    url = f"postgresql://bestays@:5432/{filled.name}?host={filled.host}"
    url += "&options=-c%20property_v2.seen%3Durl"
    shell = leftovers(elsewhere, tmp_path)
    for verb in ("check", "validate", "state", "dry-run", "monitor"):
        well(filled.run("python", "-m", "validation", verb, "-d", url, **shell))
    for verb in ("backup-db", "rollback", "migrate", "restore-kept"):
        well(operations(filled, verb, url=url, **shell))
    assert visits(filled) == {name: {"url"} for name in {*OURS, "yoyo", "psql", "pg_dump"}}
    assert elsewhere.dump() == before


def test_a_service_is_not_completed_from_the_shell(checkout, filled, elsewhere):
    before = elsewhere.dump()
    filled.superuser(VISITS)
    operator = Operator(checkout, filled)
    service = Path(operator.environment["PGSERVICEFILE"])
    operator.environment = {**leftovers(elsewhere, checkout), **operator.environment}
    service.write_text(f"{service.read_text()}options=-c property_v2.seen=service\n")
    with command_lines_watched() as lines:
        for verb in ("state", "backup-db", "rollback", "migrate", "restore-kept"):
            well(operator.make(f"{verb}-test"))
    names = OURS | {"yoyo", "psql", "pg_dump"}
    assert visits(filled) == {name: {"service"} for name in names}
    assert elsewhere.dump() == before
    assert any("property_v2.seen=service" in line for line in lines if "pg_dump" in line)
    assert not [line for line in lines if SECRET in line]


def test_options_of_the_shell_reach_every_session(operations, migrated):
    migrated.superuser(VISITS)
    options = "-c property_v2.seen=shell"
    well(operations(migrated, "backup-db", PGOPTIONS=options))
    well(operations(migrated, "rollback", PGOPTIONS=options))
    names = {"python -m operations", "yoyo", "psql", "pg_dump"}
    assert visits(migrated) == {name: {"shell"} for name in names}


@pytest.mark.parametrize(
    ("given", "variable"),
    [
        ("sslmode=prefer", {"PGSSLMODE": "require"}),  # which the bundled psql does not know
        ("target_session_attrs=any", {"PGTARGETSESSIONATTRS": "standby"}),
    ],
)
def test_what_a_url_says_holds_also_where_it_is_the_default(operations, migrated, given, variable):
    for verb in ("rollback", "migrate"):
        well(operations(migrated, verb, url=f"{migrated.url}&{given}", **variable))


@pytest.mark.parametrize("choice", ["target_session_attrs=read-write", "load_balance_hosts=random"])
def test_of_two_hosts_all_sessions_take_the_one_that_was_reached(operations, servers, choice):
    name = "test_two_hosts"
    newer, older = (clone(s, "unmigrated", name) for s in servers)
    with newer as first, older as other:
        if "read-write" in choice:
            first.superuser(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        url = f"postgresql://bestays@/{name}?host={first.host},{other.host}&{choice}"
        for verb in ("migrate", "migrate", "rollback"):  # where random, not the same one each time
            well(operations(first, verb, url=url))
        if "read-write" in choice:
            assert not first.execute("SELECT to_regclass('_yoyo_migration')")[0][0]


@contextmanager
def balancer(folder: Path, *databases: Database, first: int = 1) -> Iterator[str]:
    """A folder whose socket leads to the first database, after so many sessions to the second."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(folder / ".s.PGSQL.5432"))
    listening.listen()

    def pump(source: socket.socket, to: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                to.sendall(data)
            to.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the other side has gone

    def serve() -> None:
        number = 0
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            upstream = socket.socket(socket.AF_UNIX)
            upstream.connect(f"{databases[number >= first].host}/.s.PGSQL.5432")
            number += 1
            for pair in ((client, upstream), (upstream, client)):
                threading.Thread(target=pump, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    with closing(listening):
        yield str(folder)
        listening.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("verb", "template", "said"),
    [
        ("migrate", "unmigrated", "No set of psql, pg_dump, pg_restore of PostgreSQL 18"),
        ("backup-db", "migrated", "reaches another database): install the client"),
        ("rollback", "migrated", "yoyo rollback was not run: it reaches another database."),
        ("sample-data 10", "migrated", "No set of psql"),
        ("restore-kept", "filled", None),  # in the session that reached it
        ("drop-kept --yes", "filled", None),
    ],
)
def test_what_would_reach_another_server_is_not_run(operations, servers, verb, template, said):
    name = "test_balanced"
    newer, older = (clone(s, template, name) for s in servers)
    with newer as one, older as other, TemporaryDirectory() as folder:  # short, for a socket
        for database in (one, other):
            database.superuser(f"ALTER DATABASE {name} SET property_v2.allow_data_loss = off")
            if "kept" in verb:
                database.roll_back()
                database.apply()
        before = one.dump(), other.dump()
        with balancer(Path(folder), one, other) as host:
            done = operations(one, *verb.split(), url=f"postgresql://bestays@/{name}?host={host}")
        if said:
            refused(done, said)
        else:
            well(done)
        assert (one.dump() == before[0], other.dump() == before[1]) == (bool(said), True)


@pytest.mark.parametrize("verb", ["import-data", "sample-data"])
def test_the_session_that_writes_is_itself_on_this_database(operations, servers, filled, verb):
    """Though the programs were seen to reach it."""
    export = re.search(r"backups/\S+\.data", operations(filled, "export-data").stdout)[0]
    options = ["--from", export] if verb == "import-data" else ["10"]
    newer, older = (clone(s, "migrated", "test_balanced") for s in servers)
    with newer as one, older as other, TemporaryDirectory() as folder:
        url = f"postgresql://bestays@/{one.name}?host={folder}"
        for database in (one, other):
            allowed = "SET property_v2.allow_data_loss = on"
            database.superuser(f"ALTER DATABASE {database.name} {allowed}")
        before = one.dump(), other.dump()
        with balancer(Path(folder), one, other, first=2):
            done = operations(one, verb, *options, url=url)
        refused(done, " failed: it reaches another database.")
        assert (one.dump(), other.dump()) == before


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


def backup(database: Database, cwd: Path, *folders: str, options: str = "", **environment: str):
    path = ":".join((*folders, database.env()["PATH"], "/bin"))
    command = ("python", "-m", "operations", "backup-db", "-d", database.url + options)
    return database.run(*command, cwd=cwd, PATH=path, **environment)


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


def test_a_client_without_tls_is_not_taken_for_tls(
    operations, checkout, unmigrated, tmp_path
):  # fmt: skip
    """The bundled programs have none; over the socket, libpq asks for none in the end."""
    tls = "&sslmode=require"
    before = unmigrated.dump()
    done = operations(unmigrated, "migrate", url=unmigrated.url + tls)
    refused(done, "SSL support is not compiled in", "install the client")
    assert unmigrated.dump() == before
    clients = Clients(tmp_path)
    with_tls = clients.add("with_tls", unmigrated.server, WITHOUT_TLS)
    well(backup(unmigrated, checkout, with_tls, options=tls))
    assert clients.called("with_tls") == set(PROGRAMS)
    assert re.search("pg_dump .*sslmode=require", clients.log.read_text())


def test_secrets_reach_the_programs_and_no_command_line(filled, bare):
    """Nor does what a shell has of libpq; what they print is read, so it is in English."""
    clients = Clients(bare)
    seen = f'grep -q "sslpassword={SECRET}" "$PGSERVICEFILE" && [ "$PGTZ$LC_ALL$LC_MESSAGES" = C ]'
    fit = clients.add("fit", filled.server, f'[ "$1" = --version ] || {{ {seen}; }} || exit 1\n')
    shell = {"LC_ALL": "de_DE.UTF-8", "PGTZ": "Asia/Bangkok"}
    well(backup(filled, bare, fit, options=f"&sslpassword={SECRET}", **shell))
    assert clients.called("fit") == set(PROGRAMS)
    assert SECRET not in clients.log.read_text()  # with what arguments they were called


def test_a_program_that_was_killed_is_named(migrated, bare):
    killed = '[ "$1" = -Fc ] && kill -9 $$\n'
    fit = Clients(bare).add("fit", migrated.server, killed)
    refused(backup(migrated, bare, fit), "Backup failed: pg_dump was ended by signal 9.")


@pytest.mark.parametrize("named", ["service", "url"])
def test_ways_out_can_be_pasted(checkout, filled, named):
    before = rows(filled)
    operator = Operator(checkout, filled)
    url = f"postgresql://bestays:{SECRET}@/{filled.name}?host={filled.host}"
    url += f"&password={SECRET}&sslpassword={SECRET}"
    ours = "make {}-test" if named == "service" else "python -m operations {} -d '{}'"

    def paste(line: str) -> list[str]:
        there = {"cwd": checkout, "PATH": operator.path, **operator.environment}
        done = filled.run("sh", "-c", line, **there)
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


@pytest.mark.parametrize("verb", ["sample-data 10", "import-data", "restore-kept", "rollback"])
def test_a_hint_of_the_database_is_about_that_database(operations, filled, verb):
    filled.superuser(f"ALTER DATABASE {filled.name} SET property_v2.allow_data_loss = on")
    if verb == "import-data":
        well(operations(filled, "export-data"))
    well(operations(filled, "rollback"))
    if verb == "rollback":
        well(operations(filled, "migrate"))
        filled.execute("INSERT INTO amenities (id, category) VALUES ('new', 'area')")
    done = operations(filled, *verb.split())
    way_out = "drop-kept" if verb == "rollback" else "migrate"
    refused(done, f"python -m operations {way_out} -d '{filled.url}'")
    assert "make" not in done.stderr
