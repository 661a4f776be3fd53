"""What the migrations make, by validate/10_objects.sql: one list and one look at the catalog.

`make renew` writes the list; the comparison, `state`, the check for free names and the scripts for
indexes read it.
"""

import re
from pathlib import Path

from common.database import Connection

HERE = Path(__file__).resolve().parent
FILE = HERE / "validate" / "10_objects.sql"
SHOWN = "\n-- What is shown"


def query(select: str) -> str:
    """SQL that reads `expected` and `catalog`, the two lists of that file."""
    return f"{FILE.read_text('utf-8').partition(SHOWN)[0]}\nSELECT * FROM ({select}) AS asked"


def tables() -> list[str]:
    """The tables that the migrations make and keep, by name."""
    return sorted(re.findall(r"\('\w+', NULL, 'table', '(\w+)',", FILE.read_text("utf-8")))


def objects(connection: Connection) -> dict[str, list[tuple]]:
    """By which objects each migration is known, and what is found of them.

    Returns:
        By migration: expected kind and name, and kind and owner of what is there. The kind is
        "dropped index" and the like for what the migration takes away; what is found is None where
        it is missing, and "invalid index" where a build was interrupted.
    """
    result: dict[str, list[tuple]] = {}
    look = query((HERE / "objects.sql").read_text("utf-8"))
    for migration, kind, name, owner, found in connection.look(look, names_only="on"):
        result.setdefault(migration, []).append((kind, name, found, owner))
    return result
