"""A client that falls silent keeps nobody waiting, and a server that does holds no command up."""

import os
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing

import psycopg
import psycopg2
import pytest

from common.database import Unusable, connect
from local_postgres.server import Server
from operations.target import Target

from .conftest import MIGRATIONS, PROJECT, behind, clone, ended, refused
from .conftest import newest as server  # noqa: F401

# What is stopped, and on which template
SILENT = {
    "apply": ("unmigrated", ("yoyo", "apply", "--batch")),
    "rollback": ("migrated", ("yoyo", "rollback", "--batch")),
    "dry-run": ("unmigrated", ("python", "-m", "validation", "dry-run")),
    "restore-kept": ("filled", ("python", "-m", "operations", "restore-kept")),
    "drop-kept": ("filled", ("python", "-m", "operations", "drop-kept", "--yes")),
}
OURS = "application_name ~ '^0001|_kept.sql$'"
IN_A_TRY = f"({OURS}) AND wait_event IN ('relation', 'PgSleep')"
HAS_USERS = """
SELECT 1 FROM pg_locks JOIN pg_stat_activity AS a USING (pid)
WHERE relation = 'users'::regclass AND mode ~ 'Exclusive' AND a.state LIKE 'idle in%'
    AND datname = current_database()
"""


def test_the_server_ends_a_session_whose_client_was_stopped_with_the_lock_in_its_hands(server):
    """Each is stopped while it waits for users, gets its lock then, and never commits."""
    with ExitStack() as stack:
        stopped = []
        for name, (template, command) in SILENT.items():
            database = stack.enter_context(clone(server, template))
            if "kept" in name:
                database.roll_back()
                database.apply()
            stack.enter_context(database.unchanged())
            with database.holding():
                command = (*command, "-d", database.url)
                run = database.start_until(IN_A_TRY, f"{name} is in a try", *command)
                stack.callback(run.kill)
                os.kill(run.pid, signal.SIGSTOP)
            database.wait_for(HAS_USERS, f"{name} has its lock")
            stopped.append((database, run))
        for database, run in stopped:
            with database.connect(options="-c statement_timeout=30s") as another:
                another.execute("UPDATE users SET full_name = full_name")
            os.kill(run.pid, signal.SIGCONT)
            done = ended(run)
            assert done.returncode != 0, done.stdout
            assert re.search("idle-in-transaction timeout|server closed", done.stderr)


@pytest.fixture(scope="module")
def tcp(tmp_path_factory) -> Iterator[int]:
    """The port of a server that listens on the loopback address, too."""
    server = Server(18, tmp_path_factory.mktemp("data") / "data")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server.start({"listen_addresses": "127.0.0.1", "port": str(port), "fsync": "off"})
    yield port
    server.stop("immediate")


TOLD = "SELECT string_agg(setting, ' ' ORDER BY name) FROM pg_settings WHERE name ~ '^tcp_'"
WITHIN_SECONDS = "3 5 2 11000"  # count, idle, interval and time-out


def test_the_server_is_told_to_notice_a_lost_line(tcp):
    for file in [*MIGRATIONS.glob("*.sql"), PROJECT / "operations" / "transaction.sql"]:
        at = f"host=127.0.0.1 port={tcp} user=postgres dbname=postgres"
        with psycopg.connect(at) as session:
            for statement in re.findall(r"(?m)^SET LOCAL tcp_.*;", file.read_text()):
                session.execute(statement)
            assert session.execute(TOLD).fetchone()[0] == WITHIN_SECONDS, file


def test_our_connections_notice_a_lost_line_on_both_sides(tcp, monkeypatch):
    """That which is opened first, and one with the parameters of yoyo and the programs."""
    monkeypatch.setattr(os, "environ", dict(os.environ))  # as for programs, it is changed
    target = Target(f"postgresql://postgres@127.0.0.1:{tcp}/postgres")
    with closing(target.connection), closing(psycopg2.connect(target.dsn)) as another:
        for connection in (target.connection, another):
            with socket.socket(fileno=os.dup(connection.fileno())) as line:
                options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
                assert [line.getsockopt(socket.IPPROTO_TCP, o) for o in options] == [5, 2, 3]
                assert line.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 11000
            with connection.cursor() as cursor:
                cursor.execute(TOLD)
                assert cursor.fetchone()[0] == WITHIN_SECONDS


def test_a_server_that_is_silent_is_given_up(tcp):
    with closing(connect(f"postgresql://postgres@127.0.0.1:{tcp}/postgres")) as connection:
        connection.silence = 0.5
        with pytest.raises(Unusable, match="has not answered"), connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(60)")


@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_command_whose_server_is_silent_listens_to_signals(migrated, how):
    """It accepts another connection, as the kernel does that, and says nothing there, too."""
    with migrated.holding("LOCK TABLE _yoyo_migration") as holder:
        state = migrated.our_command("validation", "state")
        run = migrated.start_until(behind(holder), "it waits for an answer", *state)
        session = migrated.wait_for_session(behind(holder), "it still waits", run)
        postmaster = (migrated.server.cluster / "postmaster.pid").read_text().split()[0]
        silent = (session, int(postmaster))
        try:
            for pid in silent:
                os.kill(pid, signal.SIGSTOP)
            os.kill(run.pid, getattr(signal, how))
            _, message = run.communicate(timeout=30)  # our own limit is three times that
        finally:
            for pid in silent:
                os.kill(pid, signal.SIGCONT)
    assert (run.returncode, message) == (2, "Interrupted. Nothing was changed.\n")


# The end of a terminal reaches all that runs in it, as Ctrl-C does; the end of a job make alone.
@pytest.mark.parametrize(
    ("who", "how"),
    [("all", "SIGINT"), ("make", "SIGTERM"), ("python", "SIGTERM"), ("python", "SIGHUP")],
)
def test_a_signal_ends_the_rollback_and_leaves_no_lock(in_checkout, migrated, who, how):
    operator = migrated.by_service()
    with migrated.unchanged(), migrated.holding():
        make = ("make", "rollback-test")
        run = operator.start_until(OURS, "the rollback is at work", *make)
        if who == "all":
            os.killpg(run.pid, getattr(signal, how))
        else:
            python = int(migrated.value("SELECT pid FROM yoyo_lock"))
            os.kill(python if who == "python" else run.pid, getattr(signal, how))
        done = ended(run)
        migrated.wait_until_alone(OURS)
    assert done.returncode != 0
    assert "Interrupted. make state-test says where things stand." in done.stderr
    assert migrated.state()[0] == 0


def test_a_rollback_whose_sessions_were_ended_lets_go_of_yoyos_lock(migrated):
    with migrated.holding():
        command = migrated.our_command("operations", "rollback")
        run = migrated.start_until(OURS, "the rollback is at work", *command)
        migrated.terminate(f"{OURS} OR application_name = 'yoyo'")
        refused(ended(run), "yoyo rollback failed: terminating connection")
    assert migrated.state()[1]["yoyo lock"]["found"] == "free"
