"""Runs of yoyo and of `python -m …`, forked from a process that has imported what they need.

Most of what such a run costs is its start, and the tests make many hundreds.
"""

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import time
from multiprocessing import connection
from pathlib import Path

from yoyo.scripts.main import main as yoyo

PROJECT = Path(__file__).resolve().parent.parent
OURS = {"common", "development", "local_postgres", "operations", "validation"}

server = multiprocessing.get_context("forkserver")
server.set_forkserver_preload(
    ["pytest", __name__]  # pytest, as every child of a script imports what the script does
    + [f"{module}.__main__" for module in ("operations", "validation")]
    + ["local_postgres.server", "psycopg2", "yoyo.backends.core.postgresql"]
    + [f"yoyo.scripts.{name}" for name in ("init", "migrate", "newmigration")]
)
# Two threads that ask for one process's exit code would take it from each other, and a start
# asks for that of every process.
asking = threading.Lock()


def in_fork(command: tuple[str, ...], environment: dict[str, str], cwd: Path, outputs) -> None:
    os.setsid()
    for descriptor, path in enumerate(outputs, 1):
        os.dup2(os.open(path, os.O_WRONLY), descriptor)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(cwd)
    if cwd != PROJECT:  # the modules of another copy
        sys.path[:] = [str(cwd), *(path for path in sys.path if path != str(PROJECT))]
        for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
            del sys.modules[name]
    if command[0] == "yoyo":
        sys.exit(yoyo(command[1:]))
    _, _, module, *sys.argv[1:] = command
    sys.modules.pop(f"{module}.__main__", None)  # as if nobody had imported it
    runpy.run_module(module, run_name="__main__", alter_sys=True)


class Fork:
    """A running `yoyo ...` or `python -m ...`, with the methods of subprocess.Popen."""

    def __init__(self, command: tuple[str, ...], environment: dict[str, str], cwd: Path) -> None:
        self.args, self.returncode = command, None
        self.outputs = [tempfile.NamedTemporaryFile("r") for _ in range(2)]  # noqa: SIM115
        arguments = (command, environment, cwd, [file.name for file in self.outputs])
        self.process = server.Process(target=in_fork, args=arguments)
        with asking:
            self.process.start()
        self.pid = self.process.pid

    def send_signal(self, number: int) -> None:
        if self.poll() is None:  # otherwise the process id may be another's by now
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def poll(self) -> int | None:
        with asking:
            self.returncode = self.process.exitcode
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        if not connection.wait([self.process.sentinel], timeout):
            raise subprocess.TimeoutExpired(self.args, timeout)
        self.poll()
        output, message = (file.read() for file in self.outputs)
        return output, message
