"""Rules that hold for every migration, and the way of CONTRIBUTING.md for each kind of the next.

In a copy of the checkout `make new` writes the next ones, one after the other: a column with a
constraint that is not valid yet, a column alone, a changed CHECK, a table with a foreign key to
users and a trigger, HNSW indexes, an index taken away. They keep the rules, go there and back, and
each rule is breached. That the checksums are renewed is a matter of test_docs.py.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from yoyo import get_backend, read_migrations
from yoyo.migrations import read_sql_migration

from development import renew

from .conftest import MIGRATIONS, PROJECT, TABLES, Database, clone, copy_of_the_project, rows, well

HEADER = ("What it does", "Locks", "Safe when", "Not safe when", "(Before, a|A)fter", "Proven by")
NOT_CODE = re.compile(r"--[^\n]*|'(?:[^']|'')*'|(\$\w*\$).*?\1", re.DOTALL)
# Foreign keys without an index over all their rows, and tables without a comment
EXCUSED = {
    "properties_created_by_fkey": "the specification indexes only the rows that are not deleted",
    "properties_updated_by_fkey": "the specification has no index for it",
}
for table in ("amenities", "policies", *(f"{word}_translations" for word in ("amenity", "policy"))):
    EXCUSED[table] = "the specification has no comment on it"


def forward(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("*.sql") if not p.name.endswith(".rollback.sql"))


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.sql"))


def code(path: Path) -> str:
    return NOT_CODE.sub("", path.read_text())


def directives(path: Path) -> dict[str, str]:
    return read_sql_migration(str(path))[0]


def faults(folder: Path) -> Iterator[str]:
    """What breaks a rule in a folder of migrations."""
    paths = forward(folder)
    wanted = {path.stem + end for path in paths for end in (".sql", ".rollback.sql")}
    for name in sorted({path.name for path in files(folder)} ^ wanted):
        yield f"{name} has no pair"
    for n, path in enumerate(paths, 1):
        # By which state and the rollbacks tell ours from those of an application
        if not re.fullmatch(rf"{n:04}_property_v2(_[a-z0-9_]+)?\.sql", path.name):
            yield f"{path.name} should be {n:04}_property_v2_words.sql"
    # yoyo sorts by name, but `yoyo rollback -r` follows only these lines.
    for before, path in zip(paths, paths[1:]):
        if directives(path).get("depends") != before.stem:
            yield f"{path.name} should say -- depends: {before.stem}"
    for path in files(folder):
        yield from (f"{path.name}: {fault}" for fault in faults_of_a_file(path))
    for path in paths:
        yield from (f"{path.name}: {fault}" for fault in faults_outside_a_transaction(path))


def faults_of_a_file(path: Path) -> Iterator[str]:
    text = path.read_text()
    if not text.isascii():  # yoyo reads it once in the locale's encoding
        yield "it is not ASCII"
    # Wherever it stands in the comments at the top, yoyo takes such a line for a directive.
    for n, line in enumerate(text.splitlines(), 1):
        meant = re.fullmatch(r"-- (transactional: false|depends: \w+)", line) and n <= 2
        if re.match(r"\s*--\s*(transactional|depends)\s*:", line) and not meant:
            yield f"line {n} is a directive for yoyo: {line}"
    header = re.match(r"(--.*\n)*", text)[0]
    for part in HEADER:
        if not re.search(rf"(?m)^-- {part} +(?!\.\.\.)\S", header):
            yield f"its header has no '{part}'"
    proofs = re.findall(r"tests/\w+\.py", header.rpartition("-- Proven by")[2])
    if not proofs or not all((PROJECT / proof).exists() for proof in proofs):
        yield "'Proven by' names no test, or one that is not there"
    local = "" if "transactional" in directives(path) else "LOCAL "
    if not code(path).strip().startswith(f"SET {local}lock_timeout"):
        yield f"it does not begin with SET {local}lock_timeout"
    # sqlparse splits for yoyo; counted here are the semicolons outside of quotes and comments.
    split, count = read_sql_migration(str(path))[2], code(path).count(";")
    if len(split) != count or not all(
        re.match(r"[A-Z]+ ", re.sub(r"(?m)^\s*(--.*)?\n", "", statement))
        and statement.rstrip().endswith(";")
        for statement in split
    ):
        yield f"it has {count} statements, yoyo {len(split)}"


def faults_outside_a_transaction(path: Path) -> Iterator[str]:
    """CONCURRENTLY, and undone in mirror order.

    When a statement fails outside a transaction, yoyo runs the rollback's statements from that
    place on: with as many in the rollback, the first of them drops what the failure left behind.
    """
    build = r"(CREATE|DROP) (?:UNIQUE )?INDEX CONCURRENTLY (IF (?:NOT )?EXISTS )?(\w+)"
    pair = [p for p in (path, path.with_suffix(".rollback.sql")) if p.exists()]
    is_concurrent = ["CONCURRENTLY" in code(p) for p in pair]
    is_marked = [directives(p).get("transactional") == "false" for p in pair]
    if is_concurrent != is_marked:
        yield "CONCURRENTLY and '-- transactional: false' go together"
    if not all(is_concurrent + is_marked):
        return
    there, back = ([m.groups() for m in re.finditer(build, code(p))] for p in pair)
    opposite = {"CREATE": "DROP", "DROP": "CREATE"}
    mirrored = [(opposite[verb], name) for verb, _, name in reversed(there)]
    if mirrored != [(verb, name) for verb, _, name in back]:
        yield "the rollback is not its mirror image"
    only = rf"(\s*SET [^;]+;)+(\s*{build}[^;]*;)+\s*"
    if not all(re.fullmatch(only, code(p)) for p in pair):
        yield "more than SET and then indexes"
    for verb, condition, name in there + back:
        if bool(condition) != (verb == "DROP"):
            yield f"{verb} {name}: IF EXISTS in DROP, no IF in CREATE"


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
    found = [f"no index serves {name}" for name in sorted(uncovered - EXCUSED.keys())]
    found += [f"{name} has no comment" for name in sorted(silent - EXCUSED.keys())]
    found += [f"{name} needs no excuse" for name in sorted(EXCUSED.keys() - uncovered - silent)]
    return found


def test_every_migration_keeps_the_rules():
    assert forward(MIGRATIONS)
    assert [*faults(MIGRATIONS)] == []


def test_every_migration_is_reversible_indexed_and_commented(unmigrated):
    assert in_the_database(MIGRATIONS, unmigrated) == []


# The next ones. By name, there and back: what is tried on a busy table (or, for an index, done),
# and what stands for itself
FIRST = "0001_property_v2"
CURRENCY = """ALTER TABLE properties DROP CONSTRAINT valid_currency,
            ADD CONSTRAINT valid_currency CHECK (currency IN ({}));"""
CURRENCIES = "'THB', 'USD', 'EUR', 'GBP', 'JPY'"
LOOKUP = "idx_property_translations_lookup"
MEANING = "idx_properties_description_embedding_"
HNSW = """CREATE INDEX CONCURRENTLY {0}{1}
ON properties USING hnsw (description_embedding_{1} vector_cosine_ops);"""
KINDS = {
    "add_slug": (
        ("""ALTER TABLE properties ADD COLUMN slug text;
            ALTER TABLE properties
            ADD CONSTRAINT valid_slug CHECK (slug ~ '^[a-z0-9-]+$') NOT VALID;
            COMMENT ON COLUMN properties.slug IS 'Its name in an address';""",),
        ("ALTER TABLE properties DROP COLUMN slug;",),
    ),
    "add_floor": (
        ("""ALTER TABLE properties ADD COLUMN floor integer;
            COMMENT ON COLUMN properties.floor IS 'Where it lies';""",),
        ("ALTER TABLE properties DROP COLUMN floor;",),
    ),
    "allow_dong": (
        (CURRENCY.format(f"{CURRENCIES}, 'VND'"),),
        (CURRENCY.format(CURRENCIES),),
    ),
    "viewings": (
        ("""ALTER TABLE viewings ADD CONSTRAINT viewings_user_id_fkey
            FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE;""",
         """\
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
FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();"""),
        ("""ALTER TABLE viewings ADD CONSTRAINT no_row CHECK (false);
            DROP TABLE viewings;""",),
    ),
    "search_by_meaning": (
        ("\n\n".join(HNSW.format(MEANING, language) for language in ("en", "th")),),
        ("\n\n".join(f"DROP INDEX CONCURRENTLY IF EXISTS {MEANING}{language};"
                     for language in ("th", "en")),),
    ),
    "drop_lookup": (
        (f"DROP INDEX CONCURRENTLY IF EXISTS {LOOKUP};",),
        (f"CREATE INDEX CONCURRENTLY {LOOKUP}\nON property_translations (property_id, locale);",),
    ),
}  # fmt: skip
NAMES = [f"{n:04}_property_v2_{words}" for n, words in enumerate(KINDS, 2)]
LOCKED = {
    NAMES[0]: "ACCESS EXCLUSIVE on `properties`",
    NAMES[2]: "ACCESS EXCLUSIVE on `properties`",
    NAMES[3]: "SHARE ROW EXCLUSIVE on `users`",
    NAMES[4]: "Not rehearsed: it runs outside a transaction",
}


def fill_in(path: Path, done: str, itself: str = "-- Only what follows.") -> None:
    """Fills in what `make new` wrote: each line of the header, and the statements."""
    text = re.sub(r"(?m)^(-- .*)\.\.\.$", r"\1Shown here.", path.read_text())
    text = re.sub(r"-- Here, .*", lambda _: itself, text)
    path.write_text(re.sub(r"-- (The statement|\w+ INDEX).*", lambda _: done, text))


def written(text: str, way: str) -> dict[str, str]:
    """The chapters of docs/locks.md of one way, by migration."""
    text = re.search(rf"(?s)<!-- {way}: written by .*?<!-- end of {way} -->", text)[0]
    return dict(re.findall(r"(?ms)^### (\w+)\n(.*?)(?=^###|\Z)", text))


def states(database: Database) -> dict[str, str]:
    """What `state` says of each migration, and what to do."""
    found = json.loads(database.validation("state", "--format", "json").stdout)["results"]
    return {row["check"]: f"{row['found']} -> {row['what_to_do']}" for row in found}


@pytest.fixture(scope="module")
def copy(servers, tmp_path_factory) -> Iterator[Database]:
    """A database with the first migration and rows. Its commands are those of a copy of the
    checkout, with a migration of every kind, filled in and not yet renewed.
    """
    with clone(servers[0], "unmigrated") as copy:
        copy.cwd = copy_of_the_project(tmp_path_factory.mktemp("next") / "property-v2")
        copy.environment = {"PATH": f"{copy.env()['PATH']}:{os.environ['PATH']}"}
        copy.apply()
        copy.execute(f"{renew.USERS};{renew.ROWS}")
        for words, ways in KINDS.items():
            given = [f"TABLE={'users' if words == 'viewings' else 'properties'}"]
            given += ["CONCURRENTLY=1"] * ("CONCURRENTLY" in ways[0][0])
            done = copy.make("new", f"NAME={words}", *given)
            well(done)
            for name, way in zip(done.stdout.splitlines(), ways):
                fill_in(copy.cwd / name, *way)
        words = copy.cwd / "docs" / "schema.sql"
        words.write_text(re.sub(rf"    \('{LOOKUP}', .*\n", "", words.read_text()))
        yield copy


@pytest.fixture(scope="module")
def renewed(copy) -> list[str]:
    """What a migration says before `make renew`, and what that says, twice."""
    said = [copy.operations("migrate"), copy.make("renew"), copy.make("renew")]
    assert [done.returncode for done in said] == [1, 0, 0]
    return [done.stdout for done in said]


def test_what_was_not_renewed_is_not_applied_and_renew_writes_what_they_make_once(copy, renewed):
    assert f"{NAMES[0]}.sql is not what SHA256SUMS lists" in renewed[0]
    assert "make renew" in renewed[0]
    names = ["validation/validate/10_objects.sql", "operations/indexes.before.sql",
             "docs/schema.md", "docs/locks.md", "migrations/SHA256SUMS"]  # fmt: skip
    assert {line.removeprefix("renewed ") for line in renewed[1].splitlines()} == {*names}
    assert renewed[2] == ""
    expected, indexes, schema, locks = ((copy.cwd / name).read_text() for name in names[:4])
    assert max(map(len, expected.splitlines())) <= 100
    expected = " ".join(expected.split())
    replaced = rf"'{FIRST}', '{NAMES[2]}', 'constraint', 'properties.valid_currency'"
    assert replaced in expected and f"'{NAMES[5]}', 'index'" in expected
    assert LOOKUP not in indexes and "USING hnsw" in indexes
    assert "slug ~ " in schema and "## viewings" in schema
    for way in ("apply", "rollback"):
        chapters = written(locks, way)
        assert "on `users`" in chapters[FIRST] and [*chapters] == [FIRST, *NAMES]
    for name, lock in LOCKED.items():
        assert lock in written(locks, "apply")[name]


def test_they_keep_every_rule(copy, renewed, servers):
    folder = copy.cwd / "migrations"
    assert [*faults(folder)] == []
    new = [p for p in files(folder) if not p.name.startswith("0001")]
    outside = [str(p) for p in new if "transactional" in directives(p)]
    within = [str(p) for p in new if str(p) not in outside]
    well(copy.run("sqlfluff", "lint", *within, *outside, "operations/indexes.before.sql"))
    well(copy.run("squawk", *within))
    well(copy.run("squawk", "--no-assume-in-transaction", *outside))
    with clone(servers[0], "unmigrated") as database:
        assert in_the_database(folder, database) == []


def test_there_and_back_among_rows(copy, renewed):
    def verdicts() -> list[str]:
        found = states(copy)
        return [re.match(r"[a-z ]*[a-z]", found[name])[0] for name in NAMES]

    before = copy.dump()
    assert verdicts() == ["not applied"] * len(NAMES)
    said = copy.validation("validate").stdout
    assert said.count(f"→ Apply {NAMES[0]} (make migrate); if it is applied: ") == 3, said
    assert f"→ Apply {NAMES[2]}" in said and f"→ Apply {NAMES[5]}" in said
    well(copy.validation("dry-run", "--brief"), f"{NAMES[4]}.sql")

    not_rehearsed = "not rehearsed: it runs outside a transaction"
    well(copy.operations("migrate"), not_rehearsed, "checks passed.")
    assert verdicts() == ["applied"] * len(NAMES)

    saved = copy.execute("DELETE FROM _yoyo_migration WHERE migration_id > '0002' RETURNING *")
    assert verdicts() == ["committed but not marked"] * len(NAMES)
    valid = f"UPDATE pg_index SET indisvalid = {{}} WHERE indexrelid = '{MEANING}en'::regclass"
    copy.superuser(valid.format("false"))
    said = states(copy)[NAMES[4]]
    assert said.startswith(f"index half built: invalid index {MEANING}en of ")
    drops = (f"DROP INDEX CONCURRENTLY public.{MEANING}{locale};\n" for locale in ("en", "th"))
    assert f"{''.join(drops)}" in said
    for mark in saved:
        copy.execute("INSERT INTO _yoyo_migration VALUES (%s, %s, %s)", mark)
    said = states(copy)[NAMES[4]]
    assert said.startswith(f"marked but objects missing: index {MEANING}en ")
    copy.superuser(valid.format("true"))

    well(copy.validation("dry-run", "--rollback"), f"{NAMES[-1]}.rollback.sql")
    for left in reversed(range(len(NAMES))):
        well(copy.operations("rollback"), f"{NAMES[left]} is rolled back")
        assert verdicts() == ["applied"] * left + ["not applied"] * (len(NAMES) - left)
    assert copy.dump() == before

    well(copy.operations("migrate"))
    copy.execute("UPDATE properties SET slug = 'a', floor = 1, currency = 'VND'")
    exported = rows(copy)
    well(copy.operations("export-data"))
    copy.execute(f"TRUNCATE {', '.join(TABLES)}")
    well(copy.operations("import-data"))
    assert rows(copy) == exported
    well(copy.validation("validate"), "checks passed.")


UP, INDEXES = (f"{name}.sql" for name in NAMES[3:5])
DOWN, NO_INDEXES = (f"{name}.rollback.sql" for name in NAMES[3:5])

# What is said when a text is replaced in a file; without a text, the file is removed.
BREACHES = [
    ("no pair", DOWN, None, ""),
    ("no pair", UP, None, ""),
    ("should be 0006_property", INDEXES, "name", "0009_property_v2_words"),
    ("should be 0006_property", INDEXES, "name", "0006_words"),
    ("should say -- depends", UP, f"-- depends: {NAMES[2]}\n", ""),
    ("should say -- depends", INDEXES, NAMES[3], FIRST),
    ("a directive", UP, "-- Safe when      Shown here.", "-- depends: on nothing"),
    ("header", DOWN, "-- Not safe when  Shown here.\n", ""),
    ("header", UP, "-- What it does   Shown here.", "-- What it does   ..."),
    ("'Proven by' names", UP, "tests/test_migrations.py", "tests/test_nothing.py"),
    ("does not begin", UP, "SET LOCAL lock_timeout = '2s';\n", ""),
    ("does not begin", DOWN, "SET LOCAL", "SET"),
    ("does not begin", INDEXES, "SET lock", "SET LOCAL lock"),
    ("statements, yoyo", UP, "COMMENT ON TABLE",
     "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END;\nCOMMENT ON TABLE"),
    ("not ASCII", UP, "Who", "\u201cWho\u201d"),
    ("more than SET", INDEXES, f"CONCURRENTLY {MEANING}th", f"{MEANING}th"),
    ("go together", INDEXES, "-- transactional: false\n", ""),
    ("more than SET", INDEXES, "SET lock", "SELECT 1;\nSET lock"),
    ("go together", NO_INDEXES, "-- transactional: false\n", ""),
    ("IF EXISTS in DROP", NO_INDEXES, "IF EXISTS ", ""),
    ("mirror image", NO_INDEXES, f"{MEANING}th", f"{MEANING}en"),
    ("mirror image", NO_INDEXES, f"DROP INDEX CONCURRENTLY IF EXISTS {MEANING}en;", "SELECT 1;"),
    ("go together", UP, "CREATE INDEX", "CREATE INDEX CONCURRENTLY"),
]  # fmt: skip
BREACHES_IN_THE_DATABASE = {
    "viewings is not reversible: .* left .*viewings": (
        DOWN, "DROP TABLE viewings", "PERFORM 1"),
    "viewings is not reversible: .*c@example": (
        UP, "CREATE INDEX", "DELETE FROM users WHERE email = 'c@example.com';\nCREATE INDEX"),
    "no index serves viewings_user_id_fkey": (UP, "ON viewings (user_id)", "ON viewings (id)"),
    "viewings has no comment": (UP, "IS 'Who looks at listings'", "IS NULL"),
}  # fmt: skip


@pytest.fixture
def scratch(copy, tmp_path) -> Path:
    """The migrations of the copy, to be spoiled."""
    return shutil.copytree(copy.cwd / "migrations", tmp_path / "migrations")


def spoil(folder: Path, name: str, old: str | None, new: str) -> None:
    path = folder / name
    if old is None:
        path.unlink()
    elif old == "name":
        for p in (path, path.with_suffix(".rollback.sql")):
            p.rename(p.with_name(p.name.replace(path.stem, new)))
    else:
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))


def test_each_breach_of_a_rule_is_found(copy, tmp_path):
    assert [*faults(copy.cwd / "migrations")] == []
    for n, (fault, *breach) in enumerate(BREACHES):
        scratch = shutil.copytree(copy.cwd / "migrations", tmp_path / str(n))
        spoil(scratch, *breach)
        found = "\n".join(faults(scratch))
        assert fault in found, (breach, found)


@pytest.fixture(scope="module")
def until_viewings(copy, servers):
    """A template with rows, in which the next migration is that of the table viewings."""
    with clone(servers[0], "unmigrated", "until_viewings") as database:
        well(database.yoyo("apply", "-r", FIRST))
        database.execute(f"{renew.USERS};{renew.ROWS}")
        well(database.yoyo("apply", str(copy.cwd / "migrations"), "-r", NAMES[2]))
        yield database.name


@pytest.mark.parametrize("fault", BREACHES_IN_THE_DATABASE)
def test_each_breach_shows_in_the_database(scratch, servers, until_viewings, fault):
    for name in NAMES[4:]:
        (scratch / f"{name}.sql").unlink()
    spoil(scratch, *BREACHES_IN_THE_DATABASE[fault])
    with clone(servers[0], until_viewings) as database:
        found = in_the_database(scratch, database)
    assert len(found) == 1 and re.search(fault, found[0]), found


def test_a_failed_concurrent_build_leaves_no_invalid_index(scratch, servers, until_viewings):
    """What the rule of the mirror image is for."""
    (scratch / f"{NAMES[5]}.sql").unlink()
    spoil(scratch, INDEXES, f"INDEX CONCURRENTLY {MEANING}th\nON properties USING hnsw "
          "(description_embedding_th vector_cosine_ops)",
          f"UNIQUE INDEX CONCURRENTLY {MEANING}th ON properties (transaction_type)")  # fmt: skip
    assert not [*faults_outside_a_transaction(scratch / INDEXES)]
    with clone(servers[0], until_viewings) as database:
        before = database.dump()
        well(database.yoyo("apply", str(scratch), "-r", NAMES[3]))
        done = database.yoyo("apply", str(scratch))
        assert "could not create unique index" in done.stderr
        assert not database.execute("SELECT FROM pg_index WHERE NOT indisvalid")
        well(database.yoyo("rollback", str(scratch)))
        assert database.dump() == before


def test_any_definition_is_written_so_that_it_reads_the_same(servers):
    texts = ["", "it's", "$$", "it's $", "two\nlines of 'it' and a \\n", "word " * 40, "it's " * 40,
             "x" * 120, " and " * 30 + "'x'\n\n  ", "y " + "x" * 90 + " z"]  # fmt: skip
    with clone(servers[0], "unmigrated") as database, database.connect() as connection:
        connection.execute(
            "CREATE TEMP TABLE made (migration, removed_by, kind, name, definition)"
            " AS SELECT '0001', NULL, 'view', t, t FROM unnest(%s::text []) AS t",
            [texts],
        )
        cursor = connection.execute(renew.SQL["values"])
        while cursor.nextset():
            pass
        written = cursor.fetchone()[0]
        rows = connection.execute(f"VALUES {written}").fetchall()
    assert {row[3:] for row in rows} == {(text, text) for text in texts}
    assert len(texts) == len(rows) and max(map(len, written.splitlines())) <= 131, written
