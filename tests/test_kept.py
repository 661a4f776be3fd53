"""A rollback keeps tables with rows; they come back with all that is theirs, or are dropped."""

import os
import pty
import re
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from development.renew import checksums

from .conftest import ALLOWED, TABLES, Database, changed, clone, ended, fill, refused, rows, well
from .conftest import newest as server  # noqa: F401
from .test_live_traffic import autovacuum
from .traffic import READ_USERS, WRITE_USERS, Traffic

APPLY, ROLLBACK = (f"migrations/0001_property_v2.{end}" for end in ("sql", "rollback.sql"))
RESTORE, COPY = (f"operations/{verb}_kept.sql" for verb in ("restore", "copy"))
KEPT = "property_v2_kept"
KEPT_ROWS = f"SELECT count(*) FROM {KEPT}.properties"
MANY = "INSERT INTO amenities (id, category) SELECT n, 'area' FROM generate_series(3, {}) AS n"
# What belongs to a table and is no row
BELONGINGS = """
CREATE ROLE {role}_app;
GRANT SELECT, INSERT ON properties, property_translations TO {role}_app;
GRANT UPDATE (title) ON properties TO {role}_app;
GRANT USAGE ON SEQUENCE property_translations_id_seq TO {role}_app;
CREATE PUBLICATION site FOR TABLE users, properties;
ALTER TABLE properties SET (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.01);
ALTER TABLE properties ALTER COLUMN tags SET STATISTICS 1000;
ALTER TABLE properties REPLICA IDENTITY FULL;
CREATE STATISTICS prices ON rent_price, sale_price FROM properties;
CREATE INDEX by_title ON properties (title);
COMMENT ON INDEX by_title IS 'for the back office';
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER touch BEFORE INSERT ON properties FOR EACH ROW EXECUTE FUNCTION touch();
CREATE VIEW published AS SELECT id, title FROM properties WHERE is_published;
ALTER TABLE amenities ENABLE ROW LEVEL SECURITY;
CREATE POLICY everything ON amenities USING (true);
"""


def set_aside(database: Database) -> None:
    """Keeps its tables beside new ones, which are empty."""
    database.roll_back()
    database.apply()


@pytest.fixture
def kept(filled) -> Database:
    """Beside the rows that a rollback kept, the new tables, empty."""
    set_aside(filled)
    return filled


@pytest.fixture(params=range(2), ids=["pg18", "pg16"])
def on_each(request, servers) -> Iterator[Database]:
    """A database with rows on the server of each version."""
    with clone(servers[request.param], "filled") as database:
        yield database


def test_rows_and_all_that_belongs_to_them_come_back_while_users_goes_on(in_checkout, on_each):
    operator, role = on_each.by_service(), on_each.name
    operator.superuser(BELONGINGS.format(role=role))
    try:
        with on_each.unchanged():  # catalog and rows
            set_aside(on_each)
            done = on_each.operations("restore-kept")  # what was made by hand fails its checks
        assert done.returncode == 1 and "Back are 3 amenities, " in done.stdout
        assert not operator.value("SELECT to_regnamespace('property_v2_kept')")
        gone = "INSERT INTO users (email) VALUES ('gone@example.com') RETURNING id"
        gone = operator.value(gone)
        operator.execute("UPDATE properties SET created_by = %s WHERE title LIKE '%% 7 %%'", [gone])
        with Traffic(operator, READ_USERS), Traffic(operator, WRITE_USERS):
            done = operator.make("rollback-test")
            well(done, "500 properties", "publication site")
            assert "\nmake migrate-test\nmake restore-kept-test\n" in done.stdout
            assert not operator.value("SELECT to_regclass('public.properties')")
            well(operator.make("migrate-test"), "make restore-kept-test")
            operator.execute("DELETE FROM users WHERE id = %s", [gone])  # empties its listings
            before = rows(operator, KEPT)
            assert operator.make("restore-kept-test").stderr.endswith("Error 1\n")
        assert rows(operator) == before
    finally:
        operator.superuser(f"DROP OWNED BY {role}_app; DROP ROLE {role}_app")


def test_plain_yoyo_and_psql_keep_rows_too(filled):
    before = rows(filled)
    filled.superuser("CREATE PUBLICATION site FOR TABLE properties")
    for run, back, again in (
        (filled.yoyo, "rollback", "apply"),
        (filled.script, ROLLBACK, APPLY),
    ):
        done = run(back)
        well(done)
        assert rows(filled, KEPT) == before
        assert not filled.tables()
        well(run(again))
        well(filled.script(RESTORE))
        assert rows(filled) == before
    assert "kept with their rows in schema property_v2_kept" in done.stderr
    assert "make restore-kept" in done.stderr
    assert "still published by site" in done.stderr


def test_one_row_is_proof_enough(filled):
    """Readers wait meanwhile, so a rollback counts nothing."""
    filled.execute(MANY.format(1000))
    read = f"SELECT sum(seq_tup_read) FROM pg_stat_user_tables WHERE relname = ANY(ARRAY{TABLES})"
    filled.wait_until_alone()  # a session tells what it read when it ends
    before = filled.value(read)
    filled.roll_back()
    filled.wait_until_alone()
    assert filled.value(read) - before < 10


def test_only_a_bare_yoyo_may_be_told_to_lose_rows(filled):
    filled.prefer("property_v2.allow_data_loss = on")
    well(filled.operations("rollback", **ALLOWED), "Kept in schema")
    assert filled.value(KEPT_ROWS) == 500
    filled.apply()
    well(filled.operations("restore-kept"))
    filled.roll_back(**ALLOWED)
    assert not filled.tables()
    assert not filled.value(f"SELECT to_regnamespace('{KEPT}')")


def test_force_row_level_security_hides_no_row(filled):
    for table in TABLES:
        filled.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    assert filled.value("SELECT count(*) FROM properties") == 0
    filled.roll_back()
    state = filled.state()[1]["kept tables"]["found"]
    assert "? properties" in state  # nobody says 0 of what this role may not see
    filled.superuser(f"ALTER TABLE {KEPT}.properties NO FORCE ROW LEVEL SECURITY")
    assert filled.value(KEPT_ROWS) == 500


def test_a_row_committed_while_the_rollback_waits_is_seen_under_repeatable_read(migrated):
    migrated.prefer("default_transaction_isolation = 'repeatable read'")
    waits = "application_name ~ 'rollback$' AND wait_event IN ('relation', 'PgSleep')"
    with migrated.connect() as writer, writer.transaction():
        writer.execute("INSERT INTO amenities (id, category) VALUES ('late', 'area')")
        rollback = migrated.yoyo_command("rollback")
        run = migrated.start_until(waits, "the rollback waits", *rollback)
    well(ended(run))
    assert migrated.value(f"SELECT id FROM {KEPT}.amenities") == "late"


def test_a_search_path_without_public_overlooks_nothing(filled):
    elsewhere = {"PGOPTIONS": "-c search_path=pg_catalog"}
    with filled.unchanged():
        done = filled.operations("rollback", **elsewhere)
        refused(done, "The current schema is pg_catalog, not public: set the role's search_path")
        done = filled.script(ROLLBACK, **elsewhere)
        assert "the current schema is pg_catalog, not" in done.stderr
    set_aside(filled)
    well(filled.operations("restore-kept", **elsewhere), "500 properties")
    filled.roll_back()
    well(filled.operations("drop-kept", "--yes", **elsewhere), "500 properties")


def test_a_role_that_may_not_create_schemas_needs_one_made_for_it(filled):
    filled.superuser(f"ALTER DATABASE {filled.name} OWNER TO postgres")
    with filled.unchanged():
        done = filled.operations("rollback")
    refused(done, f"bestays may not create the schema {KEPT}", "AUTHORIZATION bestays;")
    filled.superuser("CREATE SCHEMA property_v2_kept")
    refused(filled.operations("rollback"), "GRANT USAGE, CREATE ON SCHEMA property_v2_kept")
    filled.superuser("GRANT USAGE, CREATE ON SCHEMA property_v2_kept, public TO bestays")
    well(filled.operations("rollback"), "Kept in schema")
    filled.superuser("ALTER SCHEMA property_v2_kept OWNER TO bestays")
    filled.apply()
    well(filled.operations("restore-kept"))
    for _ in range(2):  # the schema is left for the next time, which may not make it
        well(filled.operations("rollback"), "Kept in schema")
        well(filled.operations("drop-kept", "--yes"))
        filled.apply()
        fill(filled)


def test_check_tells_beforehand_who_can_keep_no_rows(unmigrated):
    assert "pass  may keep rows" in unmigrated.validation("check").stdout
    unmigrated.superuser(f"ALTER DATABASE {unmigrated.name} OWNER TO postgres")
    done = unmigrated.validation("check")
    assert "warn  may keep rows" in done.stdout
    unmigrated.superuser(re.search("CREATE SCHEMA property_v2_kept .*;", done.stdout)[0])
    assert "pass  may keep rows" in unmigrated.validation("check").stdout


def test_tables_from_a_dump_are_defined_like_the_new_ones(filled, tmp_path):
    dump = tmp_path / "dump.sql"
    dump.write_text(filled.dump(*(f"--table={table}" for table in TABLES)))
    filled.execute(f"DROP TABLE {', '.join(TABLES)}")
    well(filled.psql("-q", "-v", "ON_ERROR_STOP=1", "-f", str(dump)))
    set_aside(filled)
    done = filled.operations("restore-kept")
    well(done, "Back are", "checks passed.")
    assert "copied" not in done.stdout


def test_many_rows_are_estimated_and_not_counted(migrated):
    migrated.execute(MANY.format(100_003))
    well(migrated.operations("rollback"), "about 100,001 amenities")
    table = "oid = 'property_v2_kept.amenities'::regclass"
    migrated.superuser(f"UPDATE pg_class SET reltuples = 1e7 WHERE {table}")
    assert "about 10,000,000 amenities" in migrated.state()[1]["kept tables"]["found"]


NEW = "INSERT INTO amenities (id, category) VALUES ('new', 'area')"
LATER = "INSERT INTO _yoyo_migration VALUES ('x', '0002_property_v2_later', localtimestamp)"
LESS = """
CREATE FUNCTION less() RETURNS trigger LANGUAGE plpgsql AS
'BEGIN IF NEW.locale = ''th'' THEN RETURN NULL; END IF; RETURN NEW; END';
CREATE TRIGGER less BEFORE INSERT ON property_translations FOR EACH ROW EXECUTE FUNCTION less();
"""
HIDDEN = f"""
ALTER TABLE {KEPT}.policies ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE policies ADD COLUMN memo text;
"""
# On empty tables, or beside kept ones: what is changed, what is refused then, and what it says
REFUSED = {
    "a view on empty tables": (
        "migrated", "CREATE VIEW mine AS SELECT * FROM properties WHERE is_published", "rollback",
        "view mine depends on table properties", "Drop them first"),
    "a view on kept tables": (
        "kept", f"CREATE VIEW mine AS SELECT id FROM {KEPT}.properties", "drop-kept --yes",
        f"view public.mine depends on table {KEPT}.properties. Nothing was"),
    "no yes": ("kept", "SELECT", "drop-kept", "500 properties", "YES=1"),
    "new rows, which would be kept": (
        "kept", NEW, "rollback", f"are kept in {KEPT} already", "drop-kept -d '{url}' removes"),
    "new rows, which would be lost": (
        "kept", NEW, "restore-kept", "the new tables hold 1 amenities", "kept are 3 amenities",
        "500 properties"),
    "a copy that a rule stops": (
        "kept", "ALTER TABLE property_translations ADD CHECK (locale <> 'th')", "restore-kept",
        "violates check"),
    "a copy without all rows": (
        "kept", LESS, "restore-kept", f"only 1500 of 3000 rows of {KEPT}.property_translations"),
    "a copy of hidden rows": (
        "kept", HIDDEN, "restore-kept", "query would be affected by row-level security policy"),
    "a later migration": (
        "migrated", LATER, "rollback", "0002_property_v2_later: marked but unknown", "Update"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_says_why_and_changes_nothing(request, case):
    on, change, command, *said = REFUSED[case]
    database = request.getfixturevalue(on)
    database.execute(change)
    with database.unchanged():
        done = database.operations(*command.split())
    refused(done, *(text.format(url=database.url) for text in said))
    assert "CASCADE" not in done.stderr


def test_the_files_refuse_it_too_and_an_empty_second_rollback_is_none(kept, migrated):
    kept.roll_back()  # the new ones are empty
    assert not kept.tables()
    assert kept.value(KEPT_ROWS) == 500
    kept.apply()
    kept.execute(NEW)
    migrated.execute(LATER)
    with kept.unchanged(), migrated.unchanged():
        assert "the new tables hold rows" in kept.script(RESTORE).stderr
        assert "amenities holds 1 rows" in kept.script(COPY).stderr
        done = migrated.yoyo("rollback", "-r", "0001_property_v2")
        assert "later migrations are applied: 0002_property_v2_later" in done.stderr
    assert "The new ones hold 1 amenities" in kept.state()[1]["kept tables"]["what_to_do"]


def test_where_the_definition_differs_the_rows_are_copied(filled):
    filled.execute("ALTER TABLE properties ADD COLUMN memo text DEFAULT 'x'")
    set_aside(filled)
    done = filled.operations("restore-kept")
    assert "defined otherwise than the kept ones: column properties.memo" in done.stdout
    assert "Kept columns without a place: properties.memo" in done.stdout
    well(done, "drop-kept", "checks passed")
    assert filled.value(KEPT_ROWS) == 500
    filled.execute(f"ALTER TABLE {KEPT}.properties DROP COLUMN memo")
    assert rows(filled) == rows(filled, KEPT)
    highest = filled.value("SELECT max(id) FROM property_translations")
    assert filled.value("SELECT nextval('property_translations_id_seq')") == highest + 1
    well(filled.operations("drop-kept", "--yes"), "Dropped 3 amenities")
    assert filled.state()[0] == 0


def test_drop_kept_takes_nothing_but_yes_for_an_answer(filled):
    filled.roll_back()
    migrate = f"python -m operations migrate -d '{filled.url}'"
    refused(filled.operations("restore-kept"), "the new tables are not there", migrate)
    for answer, code in (("y", 2), ("yes", 0)):
        terminal, end = pty.openpty()
        os.write(terminal, f"{answer}\n".encode())
        command = filled.our_command("operations", "drop-kept")
        done = subprocess.run(command, env=filled.env(), stdin=end, capture_output=True, text=True)
        os.close(terminal), os.close(end)
        assert "500 properties" in done.stdout and done.stdout.count("yes or no: ") == 1
        assert done.returncode == code, done.stderr
        assert bool(filled.value(f"SELECT to_regnamespace('{KEPT}')")) == bool(code)
    assert filled.value("SELECT to_regprocedure('update_updated_at_column()')") is None
    for verb in ("drop-kept", "restore-kept"):
        refused(filled.operations(verb), "Nothing is kept here")


@pytest.mark.parametrize("verb", ["restore-kept", "drop-kept --yes"])
def test_nobody_queues_behind_a_try(kept, verb):
    pauses = "application_name LIKE '%_kept.sql' AND wait_event = 'PgSleep'"
    with kept.holding(READ_USERS), Traffic(kept, WRITE_USERS) as writes:
        command = kept.our_command("operations", *verb.split())
        run = kept.start_until(pauses, "it pauses", *command)
        writes.three_more()
    well(ended(run))


def test_an_autovacuum_gives_way_in_the_end(kept):
    kept.execute("INSERT INTO users (email) SELECT n FROM generate_series(1, 20000) AS n")
    with autovacuum(kept):
        well(kept.operations("drop-kept", "--yes"))


def test_an_autovacuum_of_one_of_the_six_gives_way_to_the_rollback(migrated):
    migrated.execute(MANY.format(20_000))
    with autovacuum(migrated, "amenities", "sort_order = 1"):
        migrated.roll_back()
    assert migrated.value(f"SELECT count(*) FROM {KEPT}.amenities") == 19998


def test_state_check_monitor_and_migrate_know_kept_tables(filled):
    filled.roll_back()
    said = "500 properties, 3,000 property_translations since 20"
    code, found = filled.state()
    assert code == 1 and said in found["kept tables"]["found"]
    verbs = re.findall(r"(?m)^python -m operations (\S+) -d", found["kept tables"]["what_to_do"])
    assert verbs == ["migrate", "restore-kept", "drop-kept"]
    assert said in filled.validation("check").stdout
    assert "property_translations" in filled.validation("monitor").stdout.split("kept:")[1]
    well(filled.operations("migrate"), f"Kept in schema {KEPT}: ", said, "restore-kept -d ")


def test_kept_rows_come_back_before_a_later_migration_that_changes_rows(checkout, filled, tmp_path):
    filled.cwd = shutil.copytree(checkout, tmp_path / "later", symlinks=True)
    migrations, later = filled.cwd / "migrations", "0002_property_v2_promote"
    rank = "UPDATE properties SET listing_priority = listing_priority {} 1;\n"
    (migrations / f"{later}.sql").write_text("-- depends: 0001_property_v2\n" + rank.format("+"))
    (migrations / f"{later}.rollback.sql").write_text(rank.format("-"))
    (migrations / "SHA256SUMS").write_text(checksums(migrations))
    priority = "SELECT listing_priority, count(*) FROM properties GROUP BY 1"

    def advice() -> list[str]:
        """The verbs that state advises, up to the other way."""
        lines = filled.validation("state").stdout.partition("Or, to")[0]
        return re.findall(r"python -m operations (\S+)", lines.partition("kept tables")[2])

    filled.roll_back()
    done = filled.validation("dry-run")
    well(done, "0001_property_v2.sql")
    assert later not in done.stdout and f"come first: {later}." in done.stderr
    done = filled.operations("migrate")
    assert done.returncode == 1 and f"the kept rows come first: {later}." in done.stdout
    assert advice() == ["restore-kept", "migrate"]
    assert filled.operations("migrate").returncode == 1  # and changes nothing
    well(filled.operations("restore-kept"))
    well(filled.operations("migrate"), "checks passed")
    assert filled.execute(priority) == [(1, 500)]

    for _ in range(2):  # and where a bare yoyo applies both at once
        well(filled.operations("rollback"))
    filled.apply()
    with filled.unchanged():
        done = filled.operations("restore-kept")
        refused(done, f"from before later migrations: {later}", "rollback -d")
        for file in (RESTORE, COPY):
            assert "from before later migrations" in filled.script(file).stderr
    verbs = advice()
    assert verbs == ["rollback", "restore-kept", "migrate"]
    for verb in verbs:
        well(filled.operations(verb))
    assert filled.execute(priority) == [(1, 500)]


def test_rollback_says_why_there_is_nothing_to_take_back(migrated):
    well(migrated.operations("rollback"), "0001_property_v2 is rolled back")
    well(migrated.operations("rollback"), "Nothing to roll back: no migration is applied.")
    migrated.apply()
    mark = migrated.execute("DELETE FROM _yoyo_migration RETURNING *")[0]
    done = migrated.operations("rollback")
    assert done.returncode == 2 and "committed but not marked" in done.stderr
    assert "\nyoyo mark -m 0001_property_v2 -d " in done.stderr
    migrated.execute("INSERT INTO _yoyo_migration VALUES (%s, %s, %s)", mark)
    migrated.execute("DROP INDEX idx_properties_tags")
    done = migrated.operations("rollback")
    assert done.returncode == 2 and "marked but objects missing" in done.stderr
    assert "\npython -m validation validate -d " in done.stderr


def test_a_rollback_file_at_fault_is_refused_before(in_checkout, migrated):
    file = in_checkout / ROLLBACK
    with migrated.unchanged(), changed(file, "-- Takes Property V2 back", "-- It"):
        for fault in ("file changed", "rollback file missing"):
            done = migrated.operations("rollback")
            assert done.returncode == 2 and fault in done.stderr
            file.unlink(missing_ok=True)
