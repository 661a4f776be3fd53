"""A database, and the PostgreSQL programs and yoyo run on it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psycopg2
from yoyo.connections import parse_uri

from validation.database import PROJECT, Unusable, connect, sentence, settings

PROGRESS = Path(__file__).with_name("progress.sql")


class Failed(Unusable):
    """A program failed; the text says in one sentence which and why."""


class Target:
    """A database and what runs on it.

    Args:
        url: as for `python -m validation -d`.

    Raises:
        Unusable: it cannot be reached.
    """

    def __init__(self, url: str | None) -> None:
        self.url = url or settings()["database"]
        self.connection = connect(self.url, "python -m operations")
        info = self.connection.info
        self.name = os.environ.get("PGSERVICE", info.dbname)
        # In the environment, not in a command line, where everybody could read a password.
        uri = parse_uri(self.url)
        given = {f"PG{key.upper()}": value for key, value in uri.args.items()}
        if uri.password:
            given["PGPASSWORD"] = uri.password
        self.environment = {
            **os.environ, **given, "PGHOST": info.host, "PGPORT": str(info.port),
            "PGUSER": info.user, "PGDATABASE": info.dbname,
            "PGOPTIONS": f"{os.environ.get('PGOPTIONS', '')} -c idle_session_timeout=0",
        }  # fmt: skip

    def program(self, name: str) -> str:
        """Path of a PostgreSQL program of the server's version, or else of the next later one.

        Raises:
            Unusable: there is none on this machine.
        """
        server_version = self.connection.server_version // 10000
        candidates = {}
        with contextlib.suppress(ImportError):  # a machine without the development packages
            from local_postgres.server import VERSIONS, Server

            candidates = {version: Server(version).program(name) for version in VERSIONS}
        if own := shutil.which(name):
            output = subprocess.run([own, "--version"], capture_output=True, text=True).stdout
            candidates[int(re.search(r"\d+", output)[0])] = own
        fitting = [version for version in candidates if version >= server_version]
        if not fitting:
            raise Unusable(f"No {name} {server_version} or later is here: install it.")
        return candidates[min(fitting)]

    def run(self, doing: str, *command: object, **options) -> str:
        """Runs a program to its end, and shows on a terminal what it is at.

        Args:
            doing: what it does, for the progress and for an error.
            options: further arguments of subprocess.Popen.

        Returns:
            What it printed.

        Raises:
            Failed: it ended with an error; the text has its message.
        """
        process = subprocess.Popen(
            list(map(str, command)), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            **{"env": self.environment, **options},
        )  # fmt: skip
        began = time.monotonic()
        terminal = sys.stderr.isatty()
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    output, message = process.communicate(timeout=1)
                    break
                if terminal:
                    seconds = time.monotonic() - began
                    line = f"{doing}: {seconds:.0f} s {self._progress()}"
                    print(f"\r\033[K{line[:99]}", end="", file=sys.stderr, flush=True)
        finally:
            process.terminate()
            if terminal:
                print("\r\033[K", end="", file=sys.stderr, flush=True)
        if process.returncode:
            reason = sentence(message) or f"it was ended by signal {-process.returncode}"
            raise Failed(f"{doing} failed: {reason}.")
        return output

    def _progress(self) -> str:
        with contextlib.suppress(psycopg2.Error), self.connection.cursor() as cursor:
            cursor.execute(PROGRESS.read_text(encoding="utf-8"))
            return (cursor.fetchone() or ("",))[0]
        return ""

    def yoyo(self, command: str, *options: str) -> None:
        """Runs yoyo, and says a failure in one sentence instead of a traceback.

        Args:
            options: server settings for its sessions, like property_v2.exported=….

        Raises:
            Failed: yoyo failed.
        """
        settings = "".join(f" -c {option}" for option in options)
        environment = {**self.environment, "PGAPPNAME": "yoyo"}
        environment["PGOPTIONS"] += settings
        arguments = ("-m", "yoyo", command, "--batch", "-d", "postgresql://")
        self.run(f"yoyo {command}", sys.executable, *arguments, cwd=PROJECT, env=environment)
