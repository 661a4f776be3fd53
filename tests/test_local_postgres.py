"""The local server starts wherever the checkout lies, and the daily commands find it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import clone, copy_of_the_project, refused, well

PLACES = {
    "spaces": "a checkout with spaces",
    "too long for a socket": "/".join(["a_rather_long_name_for_a_folder"] * 4),
    "characters that a URL would have to escape": "100% + more & #1",
}


@pytest.fixture
def place(request, tmp_path) -> Iterator[Path]:
    """A copy of the project, in the folder that a test asks for."""
    folder = copy_of_the_project(tmp_path / getattr(request, "param", "x"))
    yield folder
    run(folder, "local_postgres", "stop")


def run(folder: Path, *command: str, **options) -> subprocess.CompletedProcess:
    """Runs yoyo or one of our packages in a folder, without any PostgreSQL program on the PATH."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
    environment["PATH"] = str(Path(sys.executable).parent)
    command = command if command[0] == "yoyo" else (sys.executable, "-m", *command)
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=180, **options
    )


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES, indirect=True)
def test_daily_commands(place):
    for _ in range(2):  # starting twice is harmless
        well(run(place, "local_postgres", "start"), "PostgreSQL 18 runs in")
    well(run(place, "validation", "check"))
    well(run(place, "yoyo", "apply", "--batch"))
    well(run(place, "operations", "psql", input=r"\d properties"), "Indexes:")
    well(run(place, "yoyo", "rollback", "--batch"))
    well(run(place, "yoyo", "list", "--batch"), "U         0001_property_v2")
    well(run(place, "local_postgres", "stop"), "PostgreSQL 18 stopped")
    well(run(place, "local_postgres", "stop"), "No server is running")
    for module, verb in (("validation", "state"), ("operations", "psql")):
        refused(run(place, module, verb), "start the server (the local one: make migrate)")
    stopped = run(place, "yoyo", "list", "--batch")
    assert stopped.returncode != 0
    assert ".s.PGSQL.5432" in stopped.stderr


def test_a_version_that_was_asked_for_stays_until_another_is(place):
    for asked, version in (("16",), 16), ((), 16), (("18",), 18), ((), 18):
        well(run(place, "local_postgres", "start", *asked), f"PostgreSQL {version} runs in")
        shown = run(place, "operations", "psql", input="SHOW server_version")
        well(shown, f" {version}.")  # one at a time: the second stops the first
        if asked:
            well(run(place, "local_postgres", "stop"), f"PostgreSQL {version} stopped")


def test_a_server_that_cannot_start_says_why(place):
    cluster = place / "local_postgres" / "data" / "18"
    cluster.mkdir(parents=True)
    (cluster / "PG_VERSION").write_text("18\n")
    done = run(place, "local_postgres", "start")
    assert done.returncode == 2
    assert "pg_ctl failed" in done.stderr and "Traceback" not in done.stderr


def test_psql_and_the_programs_beside_it_are_of_the_version_of_the_server(servers, in_checkout):
    with clone(servers[1], "unmigrated") as database:
        database = database.by_service("bestays_old")
        asked = r"printf '%s\n' '\echo :VERSION_NAME :SERVER_VERSION_NAME :DBNAME' | make psql-old"
        shown = database.run("sh", "-c", asked, PGDATABASE="postgres")
        well(shown)
        client, server, name = shown.stdout.split()
        assert client == server and server.startswith("16.") and name == database.name
        asked = '"$(make programs-old)/pg_restore" --version'
        well(database.run("sh", "-c", asked), f"(PostgreSQL) {server}")
