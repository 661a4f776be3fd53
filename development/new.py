"""Writes the next pair of migrations: number, header to fill in, time-outs, short tries.

The time-outs and the tries are those of 0001 as it is now.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from common.database import PROJECT, Unusable
from common.report import exit_code

MIGRATIONS = PROJECT / "migrations"
HEADER = """\
-- ...
--
-- What it does   ...
-- Locks          {locks}
-- Safe when      ...
-- Not safe when  ...
-- After          python -m validation validate
-- Proven by      tests/test_migrations.py

"""
LOCKS = """\
...
--                Whoever holds that table is waited for in short tries; after one minute it gives
--                up with SQLSTATE 55P03, names the sessions in the way and leaves nothing."""
CONCURRENT_LOCKS = """\
SHARE UPDATE EXCLUSIVE on the table: reads and writes go on. It waits for the
--                transactions that were open before, and nobody waits for it."""
CONCURRENT = """\
-- It waits for others, nobody waits for it: a limit would only leave an invalid index.
SET lock_timeout = 0;
SET statement_timeout = 0;
SET application_name = '{name}';

-- {statement}
"""
SECTIONS = """

-- Here, what locks only what it {verb} itself.


-- One such block for each table that the application uses, last; without one, remove it.
"""


def new(folder: Path, words: str, concurrently: bool = False) -> list[Path]:
    """Writes the pair of files of the next migration.

    Args:
        folder: the migrations.
        words: the name after the number, like add_slug.
        concurrently: for an index on a table with rows, outside a transaction.

    Returns:
        The two paths.

    Raises:
        Unusable: the words are no name.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", words):
        raise Unusable("Name it in lower-case words: make new NAME=add_slug.")
    first, *_, last = sorted(p.stem for p in folder.glob("*.sql") if p.stem.count(".") == 0) * 2
    name = f"{int(last[:4]) + 1:04}_{words}"
    written = []
    for suffix, verb, ends in (("", "makes", f"-- depends: {last}\n"), (".rollback", "drops", "")):
        path = folder / f"{name}{suffix}.sql"
        if concurrently:
            statement = {
                "": "CREATE INDEX CONCURRENTLY ...: no IF NOT EXISTS, an invalid index would do",
                ".rollback": "DROP INDEX CONCURRENTLY IF EXISTS ...: all of them, in reverse order",
            }[suffix]
            text = HEADER.format(locks=CONCURRENT_LOCKS)
            text += CONCURRENT.format(name=path.stem, statement=statement)
            ends = f"-- transactional: false\n{ends}"
        else:
            model = (folder / f"{first}{suffix}.sql").read_text(encoding="utf-8")
            text = HEADER.format(locks=LOCKS) + _timeouts(model).replace(first, name)
            text += SECTIONS.format(verb=verb) + _short_tries(folder / f"{first}.sql")
        path.write_text(ends + text, encoding="utf-8")
        written.append(path)
    return written


def _timeouts(text: str) -> str:
    """The first statements of 0001, up to the block that looks at transaction and schema."""
    return re.search(r"(?ms)^SET LOCAL lock_timeout.*?^\$\$;\n", text)[0]


def _short_tries(path: Path) -> str:
    """The last block of 0001, for another table and a statement to come."""
    block = path.read_text(encoding="utf-8").rpartition("\nDO $$ -- ")[2]
    for old, new_text in (
        (r"\A.*\nDECLARE\n", "DO $$ -- properties, in short tries\nDECLARE\n"
         "    busy CONSTANT regclass := 'properties'; -- whose lock is waited for\n"),
        (r"'users'::regclass", "busy"),
        (r"(?s)(\n        BEGIN\n).*?(            EXIT;)",
         r"\1            -- The statement, instead of this line\n\2"),
        (r"no lock on users within %(.*?)patience", r"no lock on % within %\1busy, patience"),
        (r"l\.mode NOT IN \(.*?\)", "l.pid IS DISTINCT FROM pg_backend_pid()"),
    ):  # fmt: skip
        block, count = re.subn(old, new_text, block, flags=re.S if "%" in old else 0)
        if not count:
            raise Unusable(f"The end of {path.name} is not what development/new.py knows: {old}.")
    return block


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m development.new", description=__doc__)
    parser.add_argument("words", metavar="NAME", help="like add_slug")
    parser.add_argument(
        "--concurrently", action="store_true", help="for an index outside a transaction"
    )
    arguments = parser.parse_args()
    for path in new(MIGRATIONS, arguments.words, arguments.concurrently):
        print(path.relative_to(PROJECT))
    print("Fill them in, then: make renew, make test.")


if __name__ == "__main__":
    sys.exit(exit_code(main, lambda: "Nothing was written."))
