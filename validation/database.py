"""Connecting as yoyo connects: the same URLs, the same default, the same driver."""

from __future__ import annotations

import configparser
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import psycopg2
from yoyo.backends import get_backend_class
from yoyo.config import find_config, read_config
from yoyo.connections import BadConnectionURI, parse_uri
from yoyo.migrations import default_migration_table

WAYS_IN = {
    "No such file|Connection refused|starting up|shutting down":
        "start the server (the local one: make migrate), or name another with -d.",
    "definition of service": "put it into ~/.pg_service.conf.",
    "password": "put the right one into ~/.pgpass, or name another user with -d.",
    "database .* does not exist": "create it, or name another with -d.",
    "": "look at -d, PGSERVICE and the other PG… variables.",
}  # fmt: skip
PROJECT = Path(__file__).resolve().parent.parent


class Unusable(Exception):
    """What was asked for cannot be done; the text says in one sentence why and what to do."""


def sentence(error: object) -> str:
    """The message of psycopg2, psql or a Python traceback in one line, without where it arose."""
    message = str(error)
    if "Traceback" in message:
        message = re.split(r"(?m)^[ \t].*\n", message)[-1]
        message = re.sub(r"^[\w.]+: ", "", message)
    message = re.sub(r"LINE \d+: .*\n *\^", "", message)
    message = re.sub(r"(?s)psql:.*?:\d+: |(ERROR|FATAL):  |CONTEXT:.*|This probably.*", "", message)
    return " ".join(re.sub(r"\.?\s+(DETAIL|HINT):  ", ". ", message).split()).rstrip("?. ")


def settings() -> Mapping[str, str]:
    """The DEFAULT section of yoyo.ini: sources, database, migration_table.

    Raises:
        Unusable: there is no yoyo.ini, or it cannot be read.
    """
    path = find_config() or PROJECT / "yoyo.ini"
    try:
        return read_config(str(path))["DEFAULT"]
    except (OSError, configparser.Error) as error:
        raise Unusable(f"Cannot read {path}: {error}. Run this in the project's folder.") from error


def migration_table() -> str:
    """Name of the table in which yoyo marks the applied migrations."""
    return settings().get("migration_table", default_migration_table)


def connect(
    url: str | None = None, application_name: str = "python -m validation"
) -> psycopg2.extensions.connection:
    """Opens a connection whose transactions are never committed.

    Args:
        url: as `yoyo -d` takes it; the database of yoyo.ini when None. libpq's environment
            (PGSERVICE, PGPASSFILE, PGOPTIONS, …) holds for what the URL leaves open.
        application_name: for pg_stat_activity, unless PGAPPNAME names another.

    Raises:
        Unusable: the URL is wrong, or the server does not let us in.
    """
    url = url or settings().get("database", "postgresql://")
    try:
        uri = parse_uri(url)
        if uri.scheme not in ("postgresql", "postgres"):
            raise BadConnectionURI
        uri.args.setdefault("fallback_application_name", application_name)
        if "PGCONNECT_TIMEOUT" not in os.environ:
            uri.args.setdefault("connect_timeout", "10")
        connection = get_backend_class("postgresql")(uri, migration_table()).connection
    except (BadConnectionURI, ValueError) as error:
        # Without what was given: a password may stand in it.
        raise Unusable(
            "That is not a database URL: give -d postgresql://user@host:port/database."
        ) from error
    except psycopg2.Error as error:
        reason = sentence(error)
        way_in = next(WAYS_IN[symptom] for symptom in WAYS_IN if re.search(symptom, reason))
        raise Unusable(f"Cannot connect ({reason}): {way_in}") from error
    connection.autocommit = False
    with connection.cursor() as cursor:
        cursor.execute(Path(__file__).with_name("session.sql").read_text(encoding="utf-8"))
        free = _free_bytes(connection)
        cursor.execute("SELECT set_config('property_v2.free_bytes', %s, false)", [free])
    connection.commit()
    return connection


def _free_bytes(connection: psycopg2.extensions.connection) -> str:
    """Room on the disk of a server on this machine, '' when that cannot be known."""
    if not (connection.info.host or "").startswith("/"):
        return ""
    try:
        # A backend's working directory is the data directory.
        return str(shutil.disk_usage(f"/proc/{connection.info.backend_pid}/cwd").free)
    except OSError:
        return ""
