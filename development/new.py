"""Writes the next pair of migrations: number, header to fill in, time-outs, short tries.

The time-outs and the tries are those of 0001 as it is now; the rest are the templates.
"""

import argparse
import re
import sys
from pathlib import Path

from common.database import PROJECT, Unusable
from common.report import exit_code

MIGRATIONS = PROJECT / "migrations"
TEMPLATES = Path(__file__).with_name("templates")
# The last block of 0001, for another table and a statement to come
TRIES = (
    (r"(?s)(        BEGIN\n).*?( +EXIT;)", r"\1            -- The statement, for this line\n\2"),
    (r"\A.*", "DO $$ -- users, in short tries"),
    (r"l\.mode NOT IN \(.*?\)", "l.pid IS DISTINCT FROM pg_backend_pid()"),
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m development.new", description=__doc__)
    parser.add_argument("words", metavar="NAME", help="like add_slug")
    parser.add_argument("tables", metavar="TABLE", nargs="*", help="one that the application uses")
    parser.add_argument("--concurrently", action="store_true", help="for an index of a full table")
    given = parser.parse_args()
    if not all(re.fullmatch(r"[a-z][a-z0-9_]*", word) for word in (given.words, *given.tables)):
        raise Unusable("Name it in lower-case words: make new NAME=add_slug TABLE=properties.")
    first, *_, last = sorted(p.stem for p in MIGRATIONS.glob("*.sql") if "." not in p.stem) * 2
    name = f"{int(last[:4]) + 1:04}_property_v2_{given.words}"  # by which state knows ours
    block = (MIGRATIONS / f"{first}.sql").read_text("utf-8").rpartition("\nDO $$ -- ")[2]
    for old, text in TRIES:
        block = re.sub(old, text, block)
    tries = "\n\n".join(re.sub(r"\busers\b", table, block) for table in given.tables)
    kind = "concurrent" if given.concurrently else "transactional"
    for suffix in (".sql", ".rollback.sql"):
        model = (MIGRATIONS / f"{first}{suffix}").read_text("utf-8")
        begin = re.search(r"(?ms)^SET LOCAL lock_timeout.*?^\$\$;\n", model)[0].replace(first, name)
        template = (TEMPLATES / f"{kind}{suffix}").read_text("utf-8")
        filled = template.format(name=name, last=last, begin=begin, tries=tries)
        path = MIGRATIONS / f"{name}{suffix}"
        path.write_text(f"{filled.rstrip()}\n", "utf-8")
        print(path.relative_to(PROJECT))
    print("Fill them in, then: make renew, make test.")


if __name__ == "__main__":
    sys.exit(exit_code(main, lambda: "Nothing was written."))
