"""Writes anew what is generated from the migrations: checksums, what is expected, pages.

A scratch server applies them one after the other, among rows. Run twice it changes nothing.
"""

import contextlib
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from yoyo import get_backend, read_migrations

from common.database import PROJECT, Unusable, connect
from common.report import exit_code
from local_postgres.server import Server
from validation import expectation
from validation.dry_run import rehearse, summary
from validation.state import CHECKSUMS, checksum

MIGRATIONS = PROJECT / "migrations"
INDEXES = PROJECT / "operations" / "indexes.before.sql"
SCHEMA = PROJECT / "docs" / "schema.md"
LOCKS = PROJECT / "docs" / "locks.md"
SQL = {path.stem: path.read_text("utf-8") for path in Path(__file__).parent.glob("*.sql")}
USERS, _, ROWS = SQL["rows"].partition(";")
IN_SQL = ("-- written by make renew\n", "    -- end of what make renew writes\n")


def generated(url: str) -> dict[Path, str]:
    """The text of each generated file, by what the migrations do to a database without them.

    Unusable: a migration fails, or docs/schema.sql has not the words that the schema needs.
    """
    before, _, after = _parts(expectation.FILE.read_text("utf-8"), *IN_SQL)
    lists = f"{before}VALUES ('', '', '', '', ''){after.partition(expectation.SHOWN)[0]}"
    look = f"CREATE TEMP TABLE present AS {lists} SELECT kind, name, definition FROM catalog;"
    evidence = {"apply": [], "rollback": [], "keep": []}
    rows = ROWS
    with contextlib.closing(connect(url)) as connection, get_backend(url) as backend:
        cursor = connection.cursor()

        def run(sql: str, values: list | None = None) -> tuple:
            cursor.execute(sql, values)
            connection.commit()
            return cursor.fetchone() if cursor.description else ()

        nobody = "NULL AS migration, NULL AS removed_by"
        run(f"{USERS}; {look} CREATE TEMP TABLE made AS SELECT {nobody}, present.* FROM present")
        for migration in read_migrations(str(MIGRATIONS)):
            path = Path(migration.path)
            evidence["apply"].append(_rehearsal(connection, path))
            backend.apply_one(migration)
            run(f"DROP TABLE present; {look} {SQL['note']} {rows}")
            rows = ""
            for way, allowed in (("rollback", "on"), ("keep", "off")):
                run(f"SET property_v2.allow_data_loss = {allowed}")
                evidence[way].append(_rehearsal(connection, path.with_suffix(".rollback.sql")))
        texts = {MIGRATIONS / CHECKSUMS: checksums(MIGRATIONS)}
        for path, values in zip((expectation.FILE, INDEXES), run(SQL["values"])):
            before, _, after = _parts(path.read_text("utf-8"), *IN_SQL)
            texts[path] = f"{before}    VALUES\n{values}\n{after}"
        texts[SCHEMA], faults = run(SCHEMA.with_suffix(".sql").read_text("utf-8"))
        if faults:
            raise Unusable(f"docs/schema.sql has {faults}: a COMMENT in the migration is enough.")
        run(f"PREPARE chapters (jsonb, text) AS {SQL['evidence']}")
        texts[LOCKS] = LOCKS.read_text("utf-8")
        for way, rehearsals in evidence.items():
            marks = f"<!-- {way}: written by make renew -->\n\n", f"<!-- end of {way} -->"
            before, written, after = _parts(texts[LOCKS], *marks)
            (chapters,) = run("EXECUTE chapters (%s, %s)", [json.dumps(rehearsals), written])
            texts[LOCKS] = before + chapters + after
    return texts


def checksums(folder: Path) -> str:
    """What SHA256SUMS of a folder of migrations says, as sha256sum writes it."""
    return "".join(f"{checksum(path)}\n" for path in sorted(folder.glob("*.sql")))


def _parts(text: str, start: str, end: str) -> tuple[str, str, str]:
    """What stands up to the comment behind which make renew writes, what it wrote, and the rest."""
    before, _, rest = text.partition(start)
    written, found, after = rest.partition(end)
    if not found:
        raise Unusable(f'"{end.strip()}", before which make renew writes, is gone: git restore it.')
    return before + start, written, end + after


def _rehearsal(connection, path: Path) -> dict:
    """What a dry run of one file shows, for evidence.sql."""
    steps = rehearse(connection, [path])
    if steps[-1].error:
        raise Unusable(f"Statement {steps[-1].number} of {path.name} fails: {steps[-1].error}.")
    name, shown = path.name.partition(".")[0], [asdict(step) for step in steps]
    return {"migration": name, "steps": shown, "summary": summary(steps)}


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
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
            print(f"renewed {path.relative_to(PROJECT)}")


if __name__ == "__main__":
    sys.exit(exit_code(main, lambda: "Nothing was renewed."))
