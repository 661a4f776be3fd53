"""operations/distribute.sql, and the commands on a cluster, with stand-ins for Citus's functions.

This is no proof of Citus: the stand-ins note what they are asked and spread nothing. It shows the
order of the steps, the refusals, and that a run which was cut off can be run again.
"""

import re
from pathlib import Path

import pytest

from operations.target import script

from .conftest import PROJECT, TABLES, Database, fill, refused, rows
from .conftest import newest as server  # noqa: F401
from .test_indexes import INSERT

FILE = PROJECT / "operations" / "distribute.sql"
TEXT = script("distribute.sql")
STAND_INS = """CREATE SCHEMA stand_in; ALTER DATABASE {0} SET search_path = public, stand_in;
SET search_path = stand_in, public;
CREATE TABLE pg_dist_local_group AS SELECT 0 AS groupid;
CREATE TABLE pg_dist_node AS SELECT 1 AS groupid, true AS isactive, 'primary' AS noderole;
CREATE TABLE pg_dist_partition (logicalrelid regclass, partkey text, repmodel "char");
CREATE TABLE asked (number serial, what text);
CREATE FUNCTION column_to_column_name(regclass, text) RETURNS text STRICT RETURN $2;
CREATE FUNCTION create_distributed_table(name regclass, key text, colocate_with text DEFAULT '')
RETURNS void LANGUAGE plpgsql AS $$ BEGIN
    ASSERT key IS NULL OR current_setting('citus.enable_unsafe_triggers') = 'on';
    ASSERT key IS NOT NULL OR NOT EXISTS (
        SELECT FROM pg_trigger WHERE tgrelid = name AND NOT tgisinternal), 'it has triggers';
    ASSERT NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = name AND (
        contype = 'f' AND confrelid NOT IN (SELECT logicalrelid FROM pg_dist_partition)
        OR contype IN ('p', 'u') AND pg_get_constraintdef(oid) !~ key)), 'a key is in the way';
    INSERT INTO pg_dist_partition VALUES (name, key, CASE WHEN key IS NULL THEN 't' ELSE 's' END);
    INSERT INTO asked (what) VALUES (name::text);
END $$;
CREATE FUNCTION create_reference_table(regclass) RETURNS void
RETURN create_distributed_table($1, NULL);
CREATE FUNCTION truncate_local_data_after_distributing_table(regclass) RETURNS void
BEGIN ATOMIC INSERT INTO asked (what) VALUES ('truncate ' || $1); END;"""
ORDER = ["users", *TABLES]  # by their names, each comes after those it refers to
TRUNCATED = ["truncate amenities", "truncate policies", "truncate users"]
# The version of each key and trigger, and how large the tables are, which the stand-ins fill
CHANGEABLE = """
SELECT oid, xmin::text FROM pg_constraint UNION ALL SELECT oid, xmin::text FROM pg_trigger
UNION ALL SELECT relid, pg_relation_size(relid)::text FROM pg_stat_user_tables ORDER BY 1
"""
REFUSED = {
    "DROP SCHEMA stand_in CASCADE": "this database has no extension citus",
    "UPDATE pg_dist_local_group SET groupid = 1": "this is a worker",
    "UPDATE pg_dist_node SET isactive = false": "this cluster has no worker",
    "ALTER TABLE policies RENAME TO others": "table policies is missing",
    "ALTER TABLE users OWNER TO postgres": "table users is not yours",
    "INSERT INTO pg_dist_partition VALUES ('users', 'id', 's')": "users is distributed already",
    "INSERT INTO pg_dist_partition VALUES ('users', NULL, 't')": "users is distributed already",
    "CREATE TABLE orders (by integer REFERENCES users)": "orders refers to users",
    "CREATE TRIGGER own BEFORE UPDATE ON users EXECUTE FUNCTION update_updated_at_column()":
        "users has the trigger own",
}  # fmt: skip


@pytest.fixture
def cluster(migrated) -> Database:
    migrated.execute(STAND_INS.format(migrated.name))
    for table in ORDER:  # no vacuum comes, for which it would stop and ask to be run again
        migrated.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
    return migrated


def distribute(database: Database, path: Path = FILE) -> tuple[int, str, list[str]]:
    """Exit code and errors of a run, and what the stand-ins were asked so far."""
    done = database.psql("-f", str(path))
    asked = database.execute("SELECT what FROM asked ORDER BY number")
    return done.returncode, done.stderr, [what for (what,) in asked]


@pytest.mark.parametrize("change", REFUSED)
def test_refused_in_one_sentence_with_nothing_changed(cluster, change):
    cluster.superuser(change)
    before = cluster.superuser(CHANGEABLE)
    done = cluster.psql("-f", str(FILE))
    assert not done.stdout
    refused(done, f"ERROR:  {REFUSED[change]}", "(nothing was changed)", code=3)
    assert cluster.superuser(CHANGEABLE) == before


def test_cut_off_after_any_statement_it_goes_on_and_ends_like_a_whole_run(cluster, tmp_path):
    fill(cluster)
    before = rows(cluster)
    checked, checks_end, steps = TEXT.rpartition("$$;\n")
    for cut in (match.end() for match in re.finditer(r";\n|gexec\n|\Z", steps)):
        (tmp_path / "part.sql").write_text(checked + checks_end + steps[:cut])
        _, errors, asked = distribute(cluster, tmp_path / "part.sql")
        assert "ERROR:" not in errors, f"cut off at {steps[cut - 80 : cut]}: {errors}"
    assert asked[: len(ORDER)] == ORDER and asked[-3:] == TRUNCATED and rows(cluster) == before
    schema = cluster.dump("--schema-only")
    assert (schema.count("DEFAULT now()"), schema.count("CREATE TRIGGER")) == (9, 2)
    assert cluster.value("SELECT count(*) FROM pg_constraint WHERE NOT convalidated") == 0
    # What is done is not done again, but that the stand-ins leave the old rows.
    assert distribute(cluster) == (0, "", asked + TRUNCATED)
    assert cluster.dump("--schema-only") == schema


def test_where_users_is_locked_it_stops_and_says_to_run_it_again(cluster, tmp_path):
    (tmp_path / "part.sql").write_text(TEXT.partition("-- The foreign keys")[0])
    for done in ([], ORDER):
        with cluster.connect() as writer, writer.transaction(force_rollback=True):
            writer.execute("INSERT INTO users (email) VALUES ('a@example.com')")
            before = cluster.dump("--schema-only")
            code, errors, asked = distribute(cluster)
            assert (code, asked) == (3, done) and "run this file again" in errors.splitlines()[-1]
            assert cluster.dump("--schema-only") == before
        assert "ERROR:" not in distribute(cluster, tmp_path / "part.sql")[1]
    assert distribute(cluster)[0] == 0


def test_commands_say_what_they_can_tell_on_a_cluster(cluster, tmp_path):
    cluster.execute(INSERT.format(10_000))
    (tmp_path / "1.sql").write_text("-- Index  no_such\nSELECT FROM properties LIMIT 1\n")
    queries = f"validation queries {tmp_path}/1.sql"

    def check(command: str, code: int, said: str = "") -> None:
        done = cluster.run(*cluster.our_command(*command.split()))
        assert (done.returncode, done.stderr.count("\n")) == (code, bool(said)), done.stderr
        assert said in done.stderr and not (said and "unused" in done.stdout)

    check("validation validate", 0)
    check(queries, 1)
    assert distribute(cluster)[:2] == (0, "")
    check("validation validate", 2, "state tells what is applied")
    check(queries, 0, "the times are right")
    check("validation monitor", 0, "translations are counted rightly")
    check("validation state", 0)
    check("operations import-data", 2, "pg_restore --data-only")
    check("operations rollback", 2, "Way back from a cluster")
    cluster.execute("UPDATE pg_dist_local_group SET groupid = 1")
    for command in ("validation state", "validation dry-run", "operations migrate"):
        check(command, 2, "This is a worker")
