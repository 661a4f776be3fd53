"""The next migrations, of every kind, as CONTRIBUTING.md has them, in a copy of the checkout.

One after the other: a column with a constraint that is not valid yet, a column alone, a changed
CHECK, a table with a foreign key to users and a trigger, an HNSW index, an index taken away.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from development import renew

from .conftest import PROJECT, Database, clone
from .test_migrations import fill

FIRST = "0001_property_v2"
CURRENCY = """ALTER TABLE properties DROP CONSTRAINT valid_currency,
            ADD CONSTRAINT valid_currency CHECK (currency IN ({}));"""
CURRENCIES = "'THB', 'USD', 'EUR', 'GBP', 'JPY'"
LOOKUP = "idx_property_translations_lookup"
# By name: what stands for itself, what is tried on a busy table; and so in the rollback
NOTHING = "-- Only what follows."
KINDS = {
    "add_slug": (
        (NOTHING, """ALTER TABLE properties ADD COLUMN slug text;
            ALTER TABLE properties
            ADD CONSTRAINT valid_slug CHECK (slug ~ '^[a-z0-9-]+$') NOT VALID;
            COMMENT ON COLUMN properties.slug IS 'Its name in an address';"""),
        (NOTHING, "ALTER TABLE properties DROP COLUMN slug;"),
    ),
    "add_floor": (
        (NOTHING, """ALTER TABLE properties ADD COLUMN floor integer;
            COMMENT ON COLUMN properties.floor IS 'Where it lies';"""),
        (NOTHING, "ALTER TABLE properties DROP COLUMN floor;"),
    ),
    "allow_dong": (
        (NOTHING, CURRENCY.format(f"{CURRENCIES}, 'VND'")),
        (NOTHING, CURRENCY.format(CURRENCIES)),
    ),
    "viewings": (
        ("""\
CREATE TABLE viewings (
    id         serial      PRIMARY KEY,
    user_id    integer     NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT current_timestamp
);

COMMENT ON TABLE viewings IS 'Who looks at listings';
COMMENT ON COLUMN viewings.user_id IS 'The user who looks';

CREATE INDEX idx_viewings_user_id
ON viewings (user_id);

CREATE TRIGGER update_viewings_updated_at
BEFORE UPDATE ON viewings
FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();""",
         """ALTER TABLE viewings ADD CONSTRAINT viewings_user_id_fkey
            FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE;"""),
        (NOTHING, "DROP TABLE viewings;"),
    ),
    "search_by_meaning": (
        ("""\
CREATE INDEX CONCURRENTLY idx_properties_description_embedding_en
ON properties USING hnsw (description_embedding_en vector_cosine_ops);""", ""),
        ("DROP INDEX CONCURRENTLY IF EXISTS idx_properties_description_embedding_en;", ""),
    ),
    "drop_lookup": (
        (f"DROP INDEX CONCURRENTLY IF EXISTS {LOOKUP};", ""),
        (f"CREATE INDEX CONCURRENTLY {LOOKUP}\nON property_translations (property_id, locale);",
         ""),
    ),
}  # fmt: skip
LOCKED = {
    "0002_add_slug": "ACCESS EXCLUSIVE on `properties`",
    "0004_allow_dong": "ACCESS EXCLUSIVE on `properties`",
    "0005_viewings": "SHARE ROW EXCLUSIVE on `users`",
    "0006_search_by_meaning": "Not rehearsed: it runs outside a transaction",
}


class Copy:
    """A copy of the checkout, and what is run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ignored = shutil.ignore_patterns("data", ".venv", ".git", "__pycache__", "backups")
        shutil.copytree(PROJECT, folder, ignore=ignored)
        (folder / ".venv" / "bin").mkdir(parents=True)
        (folder / ".venv" / "locked").touch()
        path = f'export PATH="{Path(sys.executable).parent}:$PATH"\n'
        (folder / ".venv" / "bin" / "activate").write_text(path)

    def run(self, *command: str, code: int = 0) -> str:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        done = subprocess.run(
            command, cwd=self.folder, env={**environment, "NO_COLOR": "1"}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300,
        )  # fmt: skip
        assert done.returncode == code, f"{command}: {done.stdout}"
        return done.stdout

    def make(self, *arguments: str) -> str:
        return self.run("make", *arguments)

    def on(self, database: Database, *command: str, code: int = 0) -> str:
        return self.run(sys.executable, "-m", *command, "-d", database.url, code=code)

    def state(self, database: Database, code: int = 0) -> dict[str, str]:
        lines = self.on(database, "validation", "state", code=code).splitlines()
        found = (re.match(r"  \w+  (\S+) +(.*)", line) for line in lines)
        return {match[1]: match[2] for match in found if match}

    def text(self, name: str) -> str:
        return (self.folder / name).read_text()


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Copy:
    """With a migration of every kind, filled in and renewed."""
    copy = Copy(tmp_path_factory.mktemp("next") / "property-v2")
    for path in (copy.folder / "migrations").glob("*.sql"):
        if not path.name.startswith("0001"):
            path.unlink()
    for words, ways in KINDS.items():
        outside = ["CONCURRENTLY=1"] * ("CONCURRENTLY" in ways[0][0])
        written = copy.make("new", f"NAME={words}", *outside).splitlines()[:2]
        for path, (itself, in_tries) in zip(written, ways):
            fill(copy.folder / path, itself, in_tries)
    words = copy.folder / "docs" / "schema.sql"
    words.write_text(re.sub(rf"    \('{LOOKUP}', .*\n", "", words.read_text()))
    return copy


@pytest.fixture(scope="module")
def filled(copy, servers):
    """A database with the first migration and rows, and its dump."""
    with clone(servers[0], "unmigrated") as database:
        done = database.yoyo("apply", "-r", FIRST)
        assert done.returncode == 0, done.stderr
        database.execute(f"{renew.USERS};{renew.ROWS}")
        yield database, database.dump()


def test_what_was_not_renewed_is_not_applied(copy, filled):
    said = copy.on(filled[0], "operations", "migrate", code=1)
    assert "0002_add_slug.sql is not what SHA256SUMS lists" in said and "make renew" in said


def test_renew_writes_what_they_make_and_only_once(copy):
    names = ["validation/validate/10_objects.sql", "operations/indexes.before.sql",
             "docs/schema.md", "docs/locks.md", "migrations/SHA256SUMS"]  # fmt: skip
    said = copy.make("renew")
    assert {line.removeprefix("renewed ") for line in said.splitlines()} == {*names}
    assert copy.make("renew") == ""
    expected = copy.text(names[0])
    replaced = rf"'{FIRST}', '0004_allow_dong', 'constraint', 'properties.valid_currency'"
    assert replaced in expected and "'0007_drop_lookup', 'index'" in expected
    assert LOOKUP not in copy.text(names[1]) and "USING hnsw" in copy.text(names[1])
    assert "slug ~ " in copy.text("docs/schema.md") and "## viewings" in copy.text("docs/schema.md")
    apply, rollback, _ = re.split("<!-- end of (?:apply|rollback) -->", copy.text("docs/locks.md"))
    for way in (apply, rollback):
        parts = dict(re.findall(r"(?ms)^### (\w+)\n(.*?)(?=^###|^<!--|\Z)", way))
        assert "on `users`" in parts[FIRST] and len(parts) == len(KINDS) + 1
    for name, lock in LOCKED.items():
        assert lock in dict(re.findall(r"(?ms)^### (\w+)\n(.*?)(?=^###|\Z)", apply))[name]


def test_they_keep_every_rule(copy):
    copy.make("lint")
    rules = "test_rule or every_migration or generated or good_migrations"
    files = ("tests/test_migrations.py", "tests/test_docs.py")
    assert "failed" not in copy.run(sys.executable, "-m", "pytest", "-q", *files, "-k", rules)


def test_there_and_back_among_rows(copy, filled):
    database, before = filled
    names = [f"{n:04}_{words}" for n, words in enumerate(KINDS, 2)]
    found = copy.state(database, code=1)
    assert [found[name] for name in (FIRST, *names)] == ["applied"] + ["not applied"] * len(names)
    said = copy.on(database, "validation", "validate", code=1)
    assert said.count("→ Apply 0002_add_slug (make migrate); if it is applied: ") == 3, said
    assert "→ Apply 0004_allow_dong" in said and "→ Apply 0007_drop_lookup" in said
    assert "0006_search_by_meaning.sql" in copy.on(database, "validation", "dry-run", "--brief")

    said = copy.on(database, "operations", "migrate")
    assert "not rehearsed: it runs outside a transaction" in said and "checks passed." in said
    assert {copy.state(database)[name] for name in (FIRST, *names)} == {"applied"}

    saved = database.execute("DELETE FROM _yoyo_migration WHERE migration_id > '0002' RETURNING *")
    found = copy.state(database, code=1)
    assert {found[name].split(":")[0] for name in names} == {"committed but not marked"}
    for mark in saved:
        database.execute("INSERT INTO _yoyo_migration VALUES (%s, %s, %s)", mark)
    valid = "UPDATE pg_index SET indisvalid = {} WHERE indexrelid = '{}'::regclass"
    index = "idx_properties_description_embedding_en"
    database.superuser(valid.format("false", index))
    found = copy.state(database, code=1)
    assert found[names[4]] == f"marked but objects missing: index {index}"
    database.superuser(valid.format("true", index))

    for name in reversed(names):
        assert name in copy.on(database, "validation", "dry-run", "--rollback")
        copy.run("yoyo", "rollback", "--batch", "-d", database.url)
        found = copy.state(database, code=1)
        assert {n for n in names if found[n] == "applied"} == {n for n in names if n < name}
        assert {n for n in names if found[n] == "not applied"} == {n for n in names if n >= name}
    assert database.dump() == before
