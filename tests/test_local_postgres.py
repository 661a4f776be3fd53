"""The local server starts wherever the checkout lies, and the daily commands find it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import copy_of_the_project

PLACES = {
    "spaces": "a checkout with spaces",
    "too long for a socket": "/".join(["a_rather_long_name_for_a_folder"] * 4),
    "characters that a URL would have to escape": "100% + more & #1",
}


@pytest.fixture(params=PLACES)
def checkout(request, tmp_path):
    folder = tmp_path / PLACES[request.param]
    yield copy_of_the_project(folder)
    local_postgres(folder, "stop")


def run(folder: Path, *command: str) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
    environment["PATH"] = str(Path(sys.executable).parent)
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )


def local_postgres(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    return run(folder, sys.executable, "-m", "local_postgres", *arguments)


def test_daily_commands(checkout):
    def succeeds(*command: str) -> str:
        done = run(checkout, *command)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
        return done.stdout

    python = sys.executable
    assert "is stopped" in local_postgres(checkout, "psql").stderr
    for _ in range(2):  # starting twice is harmless
        assert "PostgreSQL 18 runs in" in succeeds(python, "-m", "local_postgres", "start")
    succeeds(python, "-m", "validation", "check")
    succeeds("yoyo", "apply", "--batch")
    succeeds(python, "-m", "validation", "validate")
    assert "A         0001_property_v2" in succeeds("yoyo", "list", "--batch")
    described = succeeds(python, "-m", "local_postgres", "psql", "-c", r"\d properties")
    assert described.count("btree (") + described.count("gin (") == 11
    assert "Nothing is left to apply" in succeeds(python, "-m", "validation", "check")
    succeeds("yoyo", "rollback", "--batch")
    assert "U         0001_property_v2" in succeeds("yoyo", "list", "--batch")

    assert "PostgreSQL 18 stopped" in succeeds(python, "-m", "local_postgres", "stop")
    assert "No server is running" in succeeds(python, "-m", "local_postgres", "stop")
    stopped = run(checkout, python, "-m", "validation", "state")
    assert stopped.returncode == 2
    assert "start the server (the local one: make migrate)" in stopped.stderr
    stopped = run(checkout, "yoyo", "list", "--batch")
    assert stopped.returncode != 0
    assert ".s.PGSQL.5432" in stopped.stderr


def test_16_on_request(tmp_path):
    project = copy_of_the_project(tmp_path / "x")
    try:
        for version in ("16", "18"):  # one at a time: the second stops the first
            assert local_postgres(project, "start", version).returncode == 0
            shown = local_postgres(project, "psql", "-Atc", "SHOW server_version").stdout
            assert shown.startswith(version)
    finally:
        local_postgres(project, "stop")


def test_a_server_that_cannot_start_says_why(tmp_path):
    cluster = copy_of_the_project(tmp_path / "x") / "local_postgres" / "data" / "18"
    cluster.mkdir(parents=True)
    (cluster / "PG_VERSION").write_text("18\n")
    done = local_postgres(tmp_path / "x", "start")
    assert done.returncode == 2
    assert "pg_ctl failed" in done.stderr and "Traceback" not in done.stderr
