"""What the migrations make, by validate/10_objects.sql: one list and one look at the catalog.

`make renew` writes the list; the comparison, `state`, the check for free names and the scripts for
indexes read it.
"""

import re
from pathlib import Path

import psycopg2

HERE = Path(__file__).resolve().parent
FILE = HERE / "validate" / "10_objects.sql"
SHOWN = "\n-- What is shown"


def query(select: str) -> str:
    """SQL that reads `expected` and `catalog`, the two lists of that file."""
    with_lists = FILE.read_text(encoding="utf-8").partition(SHOWN)[0]
    return f"{with_lists}\nSELECT * FROM ({select}) AS asked"


def tables() -> list[str]:
    """The tables that the migrations make and keep, by name."""
    rows = r"\('\w+', NULL, 'table', '(\w+)',"
    return sorted(re.findall(rows, FILE.read_text(encoding="utf-8")))


def objects(connection: psycopg2.extensions.connection) -> dict[str, list[tuple]]:
    """By which objects each migration is known, and what is found of them.

    Returns:
        By migration: expected kind and name, and kind and owner of what is there. The kind is
        "dropped index" and the like for what the migration takes away; what is found is None where
        it is missing, and "invalid index" where a build was interrupted.
    """
    result: dict[str, list[tuple]] = {}
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('property_v2.names_only', 'on', true)")
        cursor.execute(query((HERE / "objects.sql").read_text(encoding="utf-8")))
        for migration, kind, name, owner, found in cursor:
            result.setdefault(migration, []).append((kind, name, found, owner))
    connection.rollback()  # and with it the settings under which it was read
    return result
