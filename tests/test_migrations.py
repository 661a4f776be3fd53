"""Rules that hold for every migration in the folder; a scratch 0002 and 0003 prove each of them.

A rule takes a folder of migrations and returns what is at fault there.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from yoyo import get_backend, read_migrations
from yoyo.migrations import read_sql_migration

from development import renew
from development.new import new

from .conftest import MIGRATIONS, PROJECT, Database, clone

HEADER = ("What it does", "Locks", "Safe when", "Not safe when", "(Before, a|A)fter", "Proven by")
NOT_CODE = re.compile(r"--[^\n]*|'(?:[^']|'')*'|(\$\w*\$).*?\1", re.DOTALL)
# Foreign keys without an index over all their rows, and tables without a comment
EXCUSED = {
    "properties_created_by_fkey": "the specification indexes only the rows that are not deleted",
    "properties_updated_by_fkey": "the specification has no index for it",
    "amenities": "the specification has no comment on it",
    "amenity_translations": "the specification has no comment on it",
    "policies": "the specification has no comment on it",
    "policy_translations": "the specification has no comment on it",
}


def forward(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("*.sql") if not p.name.endswith(".rollback.sql"))


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.sql"))


def code(path: Path) -> str:
    return NOT_CODE.sub("", path.read_text())


def directives(path: Path) -> dict[str, str]:
    return read_sql_migration(str(path))[0]


def pairs(folder: Path) -> list[str]:
    there = {p.name for p in files(folder)}
    wanted = {p.stem + end for p in forward(folder) for end in (".sql", ".rollback.sql")}
    return [f"{name} has no pair" for name in sorted(there ^ wanted)]


def numbers(folder: Path) -> list[str]:
    return [
        f"{path.name} should be {n:04}_words.sql"
        for n, path in enumerate(forward(folder), 1)
        if not re.fullmatch(rf"{n:04}_[a-z0-9_]+\.sql", path.name)
    ]


def depends(folder: Path) -> list[str]:
    """yoyo sorts by name, but `yoyo rollback -r` follows only these lines."""
    paths = forward(folder)
    return [
        f"{path.name} should say -- depends: {before.stem}"
        for before, path in zip(paths, paths[1:])
        if directives(path).get("depends") != before.stem
    ]


def no_accidental_directive(folder: Path) -> list[str]:
    """Wherever it stands in the comments at the top, yoyo takes such a line for a directive."""
    found = []
    for path in files(folder):
        lines = path.read_text().splitlines()
        for n, line in enumerate(lines, 1):
            meant = re.fullmatch(r"-- (transactional: false|depends: \w+)", line) and n <= 2
            if re.match(r"\s*--\s*(transactional|depends)\s*:", line) and not meant:
                found.append(f"{path.name}:{n} is a directive for yoyo: {line}")
    return found


def headers(folder: Path) -> list[str]:
    found = []
    for path in files(folder):
        header = re.match(r"(--.*\n)*", path.read_text())[0]
        parts = [re.search(rf"(?m)^-- {part} +(?!\.\.\.)\S", header) for part in HEADER]
        missing = [part for part, match in zip(HEADER, parts) if not match]
        found += [f"{path.name}: its header has no '{part}'" for part in missing]
        if not missing:
            proofs = re.findall(r"tests/\w+\.py", header[parts[-1].start() :])
            if not proofs or not all((PROJECT / proof).exists() for proof in proofs):
                found.append(f"{path.name}: 'Proven by' names no test, or one that is not there")
    return found


def timeouts(folder: Path) -> list[str]:
    found = []
    for path in files(folder):
        local = "" if "transactional" in directives(path) else "LOCAL "
        first = code(path).split(";")[0].strip()
        if not first.startswith(f"SET {local}lock_timeout"):
            found.append(f"{path.name} does not begin with SET {local}lock_timeout")
    return found


def statement_counts(folder: Path) -> list[str]:
    """sqlparse splits for yoyo; counted here are the semicolons outside of quotes and comments."""
    found = []
    for path in files(folder):
        split = read_sql_migration(str(path))[2]
        first_words = [re.sub(r"(?m)^\s*(--.*)?\n", "", s) for s in split]
        if len(split) != code(path).count(";") or not all(
            re.match(r"[A-Z]+ ", word) and s.rstrip().endswith(";")
            for word, s in zip(first_words, split)
        ):
            found.append(f"{path.name} has {code(path).count(';')} statements, yoyo {len(split)}")
    return found


def plain_ascii(folder: Path) -> list[str]:
    """yoyo reads it once in the locale's encoding."""
    return [f"{p.name} is not ASCII" for p in files(folder) if not p.read_text().isascii()]


def checksums(folder: Path) -> list[str]:
    if renew.checksums(folder) == (folder / "SHA256SUMS").read_text():
        return []
    return ["SHA256SUMS is stale: make renew"]


def concurrently(folder: Path) -> list[str]:
    """Outside a transaction, and undone in mirror order.

    When a statement fails outside a transaction, yoyo runs the rollback's statements from that
    place on: with as many in the rollback, the first of them drops what the failure left behind.
    """
    build = r"(CREATE|DROP) (?:UNIQUE )?INDEX CONCURRENTLY (IF (?:NOT )?EXISTS )?(\w+)"
    opposite = {"CREATE": "DROP", "DROP": "CREATE"}
    found = []
    for path in forward(folder):
        pair = (path, path.with_suffix(".rollback.sql"))
        is_concurrent = ["CONCURRENTLY" in code(p) for p in pair if p.exists()]
        is_marked = [directives(p).get("transactional") == "false" for p in pair if p.exists()]
        if is_concurrent != is_marked:
            found.append(f"{path.name}: CONCURRENTLY and '-- transactional: false' go together")
        if not all(is_concurrent + is_marked):
            continue
        there, back = ([m.groups() for m in re.finditer(build, code(p))] for p in pair)
        if [(opposite[verb], name) for verb, _, name in reversed(there)] != [
            (verb, name) for verb, _, name in back
        ]:
            found.append(f"{path.name}: the rollback is not its mirror image")
        only = rf"(\s*SET [^;]+;)+(\s*{build}[^;]*;)+\s*"
        found += [f"{p.name}: more than SET and then indexes" for p in pair
                  if not re.fullmatch(only, code(p))]  # fmt: skip
        for verb, condition, name in there + back:
            if bool(condition) != (verb == "DROP"):
                found.append(f"{path.name}: {verb} {name}: IF EXISTS in DROP, no IF in CREATE")
    return found


UNCOVERED = """
SELECT k.conname FROM pg_constraint AS k
WHERE k.contype = 'f' AND k.connamespace = 'public'::regnamespace AND NOT EXISTS (
    SELECT FROM pg_index AS i
    WHERE i.indrelid = k.conrelid AND i.indisvalid AND i.indpred IS NULL
        AND (i.indkey::int2[])[0:cardinality(k.conkey) - 1] @> k.conkey
)
"""
WITHOUT_COMMENT = """
SELECT relname FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
    AND relname <> 'users' AND relname NOT LIKE '%yoyo%'
    AND obj_description(oid, 'pg_class') IS NULL
"""


def in_the_database(folder: Path, database: Database) -> list[str]:
    """Applies, takes back and applies each migration that is left to apply, among rows."""
    found = []
    with get_backend(database.url) as backend:
        for migration in backend.to_apply(read_migrations(str(folder))):
            if not database.value("SELECT count(*) FROM users"):
                database.execute(renew.USERS)
            if database.tables() and not database.value("SELECT count(*) FROM properties"):
                database.execute(renew.ROWS)
            before = database.dump()
            backend.apply_one(migration)
            backend.rollback_one(migration)
            if (after := database.dump()) != before:
                lines = {*before.splitlines()}, {*after.splitlines()}
                lost, left = sorted(lines[0] - lines[1]), sorted(lines[1] - lines[0])
                return [f"{migration.id} is not reversible: lost {lost}, left {left}"]
            backend.apply_one(migration)
    uncovered, silent = (
        {name for (name,) in database.execute(query)} for query in (UNCOVERED, WITHOUT_COMMENT)
    )
    found += [f"no index serves {name}" for name in sorted(uncovered - EXCUSED.keys())]
    found += [f"{name} has no comment" for name in sorted(silent - EXCUSED.keys())]
    found += [f"{name} needs no excuse" for name in sorted(EXCUSED.keys() - uncovered - silent)]
    return found


RULES: list[Callable[[Path], list[str]]] = [
    pairs, numbers, depends, no_accidental_directive, headers, timeouts, statement_counts,
    plain_ascii, checksums, concurrently,
]  # fmt: skip


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule(rule):
    assert forward(MIGRATIONS)
    assert rule(MIGRATIONS) == []


def test_every_migration_is_reversible_indexed_and_commented(unmigrated):
    assert in_the_database(MIGRATIONS, unmigrated) == []


def fill(path: Path, statement: str, in_tries: str = "") -> None:
    """Fills in what `make new` wrote: the header, what stands for itself, what is tried."""
    text = path.read_text()
    locks = ["On properties."] * ("Locks          ..." in text)
    shown = ("It shows a next one.", "Shows how the next one is written.")
    for words in (*shown, *locks, "always.", "never."):
        text = text.replace("...\n", f"{words}\n", 1)
    text = re.sub(r"(?m)^-- (Here,|CREATE INDEX|DROP INDEX) .*$", lambda _: statement, text)
    if in_tries:
        text = text.replace("-- The statement, instead of this line", in_tries)
    else:
        text = text.partition("\n\n-- One such block")[0]
    path.write_text(text)


def scratch_migrations(folder: Path) -> None:
    """A table and two indexes, after the migrations that are there."""
    up, down = new(folder, "viewings")
    fill(
        up,
        """\
CREATE TABLE viewings (
    property_id uuid        NOT NULL,
    viewed_at   timestamptz NOT NULL,
    PRIMARY KEY (property_id, viewed_at)
);

COMMENT ON TABLE viewings IS 'Who looked at a listing';""",
        """\
ALTER TABLE viewings
            ADD CONSTRAINT viewings_property_id_fkey
            FOREIGN KEY (property_id) REFERENCES properties (id) ON DELETE CASCADE;""",
    )
    fill(down, "-- Only what follows.", "DROP TABLE viewings;")
    up, down = new(folder, "names", concurrently=True)
    fill(
        up,
        """\
CREATE INDEX CONCURRENTLY idx_users_created_at ON users (created_at);

CREATE INDEX CONCURRENTLY idx_users_full_name ON users (full_name);""",
    )
    fill(
        down,
        """\
DROP INDEX CONCURRENTLY IF EXISTS idx_users_full_name;

DROP INDEX CONCURRENTLY IF EXISTS idx_users_created_at;""",
    )
    renew_checksums(folder.parent)


UP, DOWN = "migrations/0002_viewings.sql", "migrations/0002_viewings.rollback.sql"
INDEXES, NO_INDEXES = "migrations/0003_names.sql", "migrations/0003_names.rollback.sql"

# Which rule must object when a text is replaced in a file; without a text, the file is removed.
BREACHES = [
    (pairs, DOWN, None, ""),
    (pairs, UP, None, ""),
    (numbers, INDEXES, "name", "0004_names"),
    (depends, UP, "-- depends: 0001_property_v2\n", ""),
    (depends, INDEXES, "0002_viewings", "0001_property_v2"),
    (no_accidental_directive, UP, "-- Safe when      always", "-- depends: on nothing"),
    (headers, DOWN, "-- Not safe when  never.\n", ""),
    (headers, UP, "tests/test_migrations.py", "tests/test_nothing.py"),
    (timeouts, UP, "SET LOCAL lock_timeout = '2s';\n", ""),
    (timeouts, DOWN, "SET LOCAL", "SET"),
    (timeouts, INDEXES, "SET lock", "SET LOCAL lock"),
    (statement_counts, UP, "COMMENT",
     "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END;\nCOMMENT"),
    (plain_ascii, UP, "Who", "\u201cWho\u201d"),
    (checksums, UP, "checksum", ""),
    (concurrently, INDEXES, "CONCURRENTLY idx_users_full", "idx_users_full"),
    (concurrently, INDEXES, "-- transactional: false\n", ""),
    (concurrently, NO_INDEXES, "-- transactional: false\n", ""),
    (concurrently, NO_INDEXES, "IF EXISTS ", ""),
    (concurrently, NO_INDEXES, "idx_users_full_name", "idx_users_created_at"),
    (concurrently, INDEXES, "SET lock", "SELECT 1;\nSET lock"),
    (concurrently, NO_INDEXES, "DROP INDEX CONCURRENTLY IF EXISTS idx_users_created_at;",
     "SELECT 1;"),
    (headers, UP, "Shows how the next one is written.", "..."),
    (concurrently, UP, "COMMENT", "CREATE INDEX CONCURRENTLY i ON viewings (viewed_at);\nCOMMENT"),
]  # fmt: skip
BREACHES_IN_THE_DATABASE = {
    "0002_viewings is not reversible: .* left .*viewings": (
        DOWN, "DROP TABLE viewings", "PERFORM 1"),
    "0002_viewings is not reversible: .*5@example": (
        UP, "COMMENT", "DELETE FROM users WHERE email = '5@example.com';\nCOMMENT"),
    "no index serves viewings_property_id_fkey": (
        UP, "(property_id, viewed_at)", "(viewed_at, property_id)"),
    "viewings has no comment": (UP, "IS 'Who looked at a listing'", "IS NULL"),
}  # fmt: skip


@pytest.fixture
def scratch(tmp_path) -> Path:
    """A copy of the first migration, with good ones after it."""
    (tmp_path / "migrations").mkdir()
    for path in MIGRATIONS.glob("0001_*"):
        shutil.copy(path, tmp_path / "migrations")
    scratch_migrations(tmp_path / "migrations")
    return tmp_path


def renew_checksums(scratch: Path) -> None:
    folder = scratch / "migrations"
    (folder / "SHA256SUMS").write_text(renew.checksums(folder))


def spoil(scratch: Path, name: str, old: str | None, new: str) -> None:
    path = scratch / name
    if old is None:
        path.unlink()
    elif old == "checksum":
        path.write_text(path.read_text() + "\n")
        return
    elif old == "name":
        for p in (path, path.with_suffix(".rollback.sql")):
            p.rename(p.with_name(p.name.replace(path.stem, new)))
    else:
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))
    renew_checksums(scratch)


def test_good_migrations_keep_every_rule(scratch, servers):
    folder = scratch / "migrations"
    assert [fault for rule in RULES for fault in rule(folder)] == []
    within = [p for p in files(folder) if not directives(p).get("transactional")]
    outside = [p for p in files(folder) if p not in within]
    for linter in (
        ("sqlfluff", "lint", "--config", PROJECT / ".sqlfluff", folder), ("squawk", *within),
        ("squawk", "--no-assume-in-transaction", *outside),
    ):  # fmt: skip
        done = subprocess.run(linter, cwd=PROJECT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
    with clone(servers[0], "unmigrated") as database:
        assert in_the_database(folder, database) == []


@pytest.mark.parametrize(
    ("rule", "name", "old", "new"), BREACHES,
    ids=[f"{rule.__name__}-{name.split('/')[1]}-{old}"[:60] for rule, name, old, _ in BREACHES],
)  # fmt: skip
def test_each_rule_catches_its_breach(scratch, rule, name, old, new):
    spoil(scratch, name, old, new)
    assert rule(scratch / "migrations")


@pytest.mark.parametrize("fault", BREACHES_IN_THE_DATABASE)
def test_each_breach_shows_in_the_database(scratch, servers, fault):
    (scratch / INDEXES).unlink()
    spoil(scratch, *BREACHES_IN_THE_DATABASE[fault])
    with clone(servers[0], "unmigrated") as database:
        found = in_the_database(scratch / "migrations", database)
    assert len(found) == 1 and re.search(fault, found[0]), found


def test_a_failed_concurrent_build_leaves_no_invalid_index(scratch, servers):
    """What the rule of the mirror image is for."""
    spoil(scratch, INDEXES, "CREATE INDEX CONCURRENTLY idx_users_full_name",
          "CREATE UNIQUE INDEX CONCURRENTLY idx_users_full_name")  # fmt: skip
    assert not concurrently(scratch / "migrations")
    with clone(servers[0], "unmigrated") as database:
        folder = str(scratch / "migrations")
        assert database.yoyo("apply", folder, "-r", "0001_property_v2").returncode == 0
        database.execute(f"{renew.USERS};{renew.ROWS}")
        before = database.dump()
        done = database.yoyo("apply", folder, "-r", "0002_viewings")
        assert done.returncode == 0, done.stderr
        done = database.yoyo("apply", folder)
        assert "could not create unique index" in done.stderr
        invalid = "SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid"
        assert database.execute(invalid) == []
        assert database.yoyo("rollback", str(scratch / "migrations")).returncode == 0
        assert database.dump() == before
