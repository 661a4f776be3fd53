"""Writes anew what is generated from the migrations: checksums, what is expected, pages.

A scratch server applies them one after the other, among rows. Run twice it changes nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import sys
import tempfile
import textwrap
from pathlib import Path

from yoyo import get_backend, read_migrations

from common.database import PROJECT, Unusable, connect
from common.report import exit_code
from local_postgres.server import Server
from validation import expectation
from validation.dry_run import Step, rehearse, summary

MIGRATIONS = PROJECT / "migrations"
INDEXES = PROJECT / "operations" / "indexes.before.sql"
SCHEMA = PROJECT / "docs" / "schema.md"
LOCKS = PROJECT / "docs" / "locks.md"
USERS, _, ROWS = (Path(__file__).with_name("rows.sql").read_text("utf-8")).partition(";")
KINDS = ("table", "column", "constraint", "index", "trigger", "function", "sequence", "comment")
SECONDARY = r"""
SELECT name, definition FROM expected
WHERE
    kind = 'index' AND removed_by IS NULL AND definition LIKE 'CREATE INDEX%'
    AND substring(definition FROM ' ON (\w+) ') IN (SELECT name FROM expected WHERE kind = 'table')
ORDER BY migration, name
"""


def generated(url: str) -> dict[Path, str]:
    """The generated files, by what the migrations do to a database in which none is applied.

    Args:
        url: of the database, in which all of them are applied afterwards.

    Returns:
        By path: the text that the file should have. Times stay as they are where nothing else
        has changed.

    Raises:
        Unusable: the words of docs/schema.sql are not those that the schema needs.
    """
    with contextlib.closing(connect(url)) as connection, get_backend(url) as backend:
        rows, evidence = [], {"apply": [], "rollback": [], "keep": []}
        with connection.cursor() as cursor:
            cursor.execute(USERS)
            connection.commit()
            for turn, migration in enumerate(read_migrations(str(MIGRATIONS))):
                path = Path(migration.path)
                evidence["apply"].append((migration.id, rehearse(connection, [path])))
                before = _catalog(cursor)
                backend.apply_one(migration)
                _note_changes(rows, migration.id, before, _catalog(cursor))
                if not turn:
                    cursor.execute(ROWS)
                    connection.commit()
                back = path.with_suffix(".rollback.sql")
                for way, allowed in (("rollback", "on"), ("keep", "off")):
                    cursor.execute(f"SET property_v2.allow_data_loss = {allowed}")
                    connection.commit()
                    evidence[way].append((migration.id, rehearse(connection, [back])))
            expected = _block(expectation.FILE, rows)
            cursor.execute(expected.partition(expectation.SHOWN)[0] + SECONDARY)
            indexes = _block(INDEXES, cursor.fetchall())
            cursor.execute(SCHEMA.with_suffix(".sql").read_text(encoding="utf-8"))
            page, faults = cursor.fetchone()
    if faults:
        raise Unusable(f"docs/schema.sql has {faults}: a COMMENT in the migration is enough.")
    locks = LOCKS.read_text(encoding="utf-8")
    for way, rehearsals in evidence.items():
        locks = _locks(locks, way, rehearsals)
    return {
        MIGRATIONS / "SHA256SUMS": checksums(MIGRATIONS),
        expectation.FILE: expected,
        INDEXES: indexes,
        SCHEMA: page,
        LOCKS: locks,
    }


def checksums(folder: Path) -> str:
    """What SHA256SUMS of a folder of migrations says, as sha256sum writes it."""
    lines = (
        f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}\n" for p in folder.glob("*.sql")
    )
    return "".join(sorted(lines, key=lambda line: line.split()[1]))


def _catalog(cursor) -> dict[tuple[str, str], str]:
    """Definitions of all that is there, by kind and name; whatever the list of the file is now."""
    lists = _block(expectation.FILE, [("",) * 5]).partition(expectation.SHOWN)[0]
    cursor.execute(f"{lists}SELECT kind, name, definition FROM catalog")
    found = {(kind, name): definition for kind, name, definition in cursor}
    cursor.connection.rollback()
    return found


def _note_changes(rows: list[list], migration: str, before: dict, after: dict) -> None:
    """Adds what a migration made, and notes beside what it took away or replaced that it did."""
    there = {(row[2], row[3]): row for row in rows if not row[1]}
    changed = [o for o in before.keys() | after.keys() if before.get(o) != after.get(o)]
    for kind, name in sorted(changed, key=lambda o: (*(o[0] == k for k in KINDS[::-1]), o[1])):
        if (kind, name) in there:
            there[kind, name][1] = migration
        elif kind == "table" and (kind, name) in before:
            continue  # the application's, which may have more in it than we know
        if (kind, name) in after:
            rows.append([migration, None, kind, name, after[kind, name]])


def _block(path: Path, rows: list) -> str:
    """The text of a file with other rows in the part that is written here."""
    before, start, rest = path.read_text(encoding="utf-8").partition("-- written by make renew\n")
    _, end, after = rest.partition("-- end of what make renew writes\n")
    if not end:
        raise Unusable(
            f"{path} lacks the comments between which make renew writes: git restore it."
        )
    indent = before[before.rindex("\n") + 1 :]
    lines = textwrap.indent("VALUES\n" + ",\n".join(map(_row, rows)), indent)
    return f"{before}{start}{lines}\n{indent}{end}{after}"


def _row(row: list | tuple) -> str:
    """A row of VALUES, in one line where it fits."""
    values = [_literal(value) for value in row]
    line = f"({', '.join(values)})"
    if len(line) <= 94 and "\n" not in line:
        return line
    names = ", ".join(values[:-1])
    if len(names) > 90:
        names = f"{', '.join(values[:-2])},\n{values[-2]}"
    lines = f"{names},\n{values[-1]}"
    return f"(\n{textwrap.indent(lines, '    ')}\n)"


def _literal(text: str | None) -> str:
    """A literal of SQL; a long one in pieces on lines of their own, which SQL takes for one."""
    if text is None:
        return "NULL"
    if "'" in text and len(text) <= 84 and "$$" not in f"{text}$":
        return f"$${text}$$"
    pieces = textwrap.wrap(
        text.replace("'", "''"), 84, drop_whitespace=False, replace_whitespace=False,
        expand_tabs=False, break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    return "\n".join(f"'{piece}'" for piece in pieces or [""])


def _locks(page: str, way: str, rehearsals: list[tuple[str, list[Step]]]) -> str:
    """docs/locks.md with other evidence of one way; what shows the same keeps its times."""
    before, start, rest = page.partition(f"<!-- {way}: written by make renew -->\n")
    stored, end, after = rest.partition(f"<!-- end of {way} -->")
    if not end:
        raise Unusable(f"docs/locks.md lacks the comments around {way}: git restore it.")
    old = {_without_times(part): part for part in re.split(r"(?m)^(?=### )", stored)}
    new = [f"### {name}\n\n{_evidence(steps)}\n\n" for name, steps in rehearsals]
    kept = "".join(old.get(_without_times(part), part) for part in new)
    return f"{before}{start}\n{kept}{end}{after}"


def _without_times(evidence: str) -> tuple[str, ...]:
    """All but the times, and the order of the locks of one statement."""
    times = r"(?<=\| )\d+\.\d(?= \|)|(?<= ran in )\d+"
    return tuple(sorted(re.sub(times, "0", evidence).splitlines()))


def _evidence(steps: list[Step]) -> str:
    lines = [
        "| # | Statement | ms | Lock on what was there before | Held, ms | Blocks |",
        "| ---: | --- | ---: | --- | ---: | --- |",
    ]
    for step in steps:
        if step.error:
            raise Unusable(f"Statement {step.number} of {step.file} fails: {step.error}.")
        if not step.number:
            return f"{step.statement[0].upper()}{step.statement[1:]}."
        statement = step.statement.replace("|", "\\|")
        start = f"| {step.number} | `{statement}` | {step.ms} |"
        for lock in step.locks:
            where = f"{lock.mode} on `{lock.relation}`{', rewritten' * lock.rewritten}"
            lines.append(f"{start} {where} | {lock.held_ms} | {lock.blocks} |")
        if not step.locks:
            lines.append(f"{start}  | | |")
    return "\n".join([*lines, "", summary(steps).replace("\n", " ", 1)])


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = Server(data=Path(folder) / "data")
        server.start({"fsync": "off"})
        try:
            server.bootstrap("scratch")
            texts = generated(f"postgresql://bestays@/scratch?host={server.socket_folder}")
        finally:
            server.stop("immediate")
    for path, text in texts.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"renewed {path.relative_to(PROJECT)}")


if __name__ == "__main__":
    sys.exit(exit_code(main, lambda: "Nothing was renewed."))
