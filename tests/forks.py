"""Runs of our commands and of yoyo, forked from a process that has imported what they need.

More than half of what such a run costs is its start, and the tests make many hundreds.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
from multiprocessing import connection
from pathlib import Path

from yoyo.scripts.main import main as yoyo

from common.report import listen_to_signals
from operations.__main__ import main as operations
from validation.__main__ import main as validation

server = multiprocessing.get_context("forkserver")
server.set_forkserver_preload(
    [__name__, "psycopg2", "yoyo.backends.core.postgresql"]
    + [f"yoyo.scripts.{name}" for name in ("init", "migrate", "newmigration")]
)
# Two threads that ask for one process's exit code would take it from each other, and a start
# asks for that of every process.
asking = threading.Lock()


def in_fork(command: tuple[str, ...], environment: dict[str, str], cwd: Path, outputs) -> None:
    for descriptor, path in enumerate(outputs, 1):
        os.dup2(os.open(path, os.O_WRONLY), descriptor)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    program, *arguments = command
    if program == "yoyo":
        sys.exit(yoyo(arguments))
    _, module, *arguments = arguments
    listen_to_signals()
    sys.exit({"validation": validation, "operations": operations}[module](arguments))


class Fork:
    """A running `yoyo ...` or `python -m ...`, with the methods of subprocess.Popen."""

    def __init__(self, command: tuple[str, ...], environment: dict[str, str], cwd: Path) -> None:
        self.args, self.returncode = command, None
        self.outputs = [tempfile.NamedTemporaryFile("r") for _ in range(2)]  # noqa: SIM115
        arguments = (command, environment, cwd, [file.name for file in self.outputs])
        self.process = server.Process(target=in_fork, args=arguments)
        with asking:
            self.process.start()
        self.pid, self.kill = self.process.pid, self.process.kill

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
