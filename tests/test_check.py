"""What check says of a server, beside what apply, backup and validation then do there.

Each environment is made for real. Where check prints SQL as the way out, it is run as printed.
"""

import re
import shlex

import psycopg
import pytest

from local_postgres.server import Server
from operations.target import script

from .conftest import MIGRATIONS, PROJECT, Database, clone, refused, well
from .conftest import newest as server  # noqa: F401
from .test_live_traffic import autovacuum

MIGRATION = MIGRATIONS / "0001_property_v2.sql"
ROLLBACK = MIGRATION.with_suffix(".rollback.sql")
FUNCTION = """CREATE FUNCTION update_updated_at_column() RETURNS trigger LANGUAGE plpgsql
AS 'BEGIN NEW.updated_at = CURRENT_TIMESTAMP; RETURN NEW; END';"""
KEEP = """CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER keep BEFORE DELETE ON users FOR EACH ROW EXECUTE FUNCTION keep()"""
NO_TRIGGER = """CREATE FUNCTION forbid() RETURNS event_trigger LANGUAGE plpgsql
AS 'BEGIN RAISE EXCEPTION ''ask before you do that''; END';
CREATE EVENT TRIGGER no_ddl ON ddl_command_end WHEN TAG IN ('CREATE TRIGGER')
EXECUTE FUNCTION forbid()"""
EXTENSIONS = "CREATE SCHEMA extensions; ALTER EXTENSION vector SET SCHEMA extensions;"
PARTITIONED = """DROP TABLE users; SET ROLE bestays;
CREATE TABLE users (id serial PRIMARY KEY, email text NOT NULL, full_name text)
PARTITION BY HASH (id);
CREATE TABLE u PARTITION OF users FOR VALUES WITH (MODULUS 1, REMAINDER 0); RESET ROLE;"""
ON_PATH = "ALTER DATABASE {db} SET search_path = public, extensions;"
USAGE = "GRANT USAGE ON SCHEMA extensions TO bestays;"
APPLICATION = """CREATE ROLE "the app" LOGIN; ALTER TABLE users OWNER TO "the app";
ALTER SEQUENCE users_id_seq OWNER TO "the app"; CREATE ROLE auditor;
GRANT REFERENCES, SELECT ON users TO bestays; GRANT SELECT ON users_id_seq TO bestays;
GRANT REFERENCES ON users TO auditor"""

# For each check what the superuser does to the database so that it fails, and it alone; then what
# it says of each fault, and what to do.
FAILURES = {
    "extension vector": [
        ("DROP EXTENSION vector; ALTER DATABASE {db} SET extension_control_path = '/nowhere'",
         "not available on this server", "Install pgvector"),
        ("DROP EXTENSION vector", "available, but not created", "CREATE EXTENSION vector"),
        (EXTENSIONS + USAGE, "extensions is not on the search_path", "public, extensions;"),
        (EXTENSIONS + ON_PATH, "lacks USAGE on its schema extensions", "GRANT USAGE ON SCHEMA"),
        ("REVOKE USAGE ON TYPE vector FROM PUBLIC", "lacks USAGE on the type", "public.vector"),
        (EXTENSIONS + ON_PATH + USAGE + "CREATE DOMAIN vector AS text",
         "vector comes before extensions.vector", "Rename the other type")],
    "table users": [
        ("DROP TABLE users", "there is no table users", "earlier migrations"),
        ("ALTER TABLE users ALTER COLUMN id TYPE bigint", "id is bigint", "right database"),
        ("ALTER TABLE users DROP CONSTRAINT users_pkey", "id is not unique", "ADD PRIMARY KEY"),
        ("ALTER TABLE users SET UNLOGGED", "users is unlogged", "TABLE users SET LOGGED;"),
        ("ALTER TABLE users RENAME TO people; CREATE VIEW users AS SELECT * FROM people;"
         "ALTER VIEW users OWNER TO bestays", "users is a view", "right database"),
        ("DROP TABLE users; CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;"
         "CREATE FOREIGN TABLE users (id integer) SERVER s; ALTER TABLE users OWNER TO bestays",
         "users is a foreign table", "right database")],
    "may refer to users": [
        ("ALTER TABLE users OWNER TO postgres; GRANT SELECT ON users, users_id_seq TO bestays",
         "bestays lacks REFERENCES on users", "GRANT REFERENCES ON users")],
    "names": [
        ("CREATE TABLE properties (id integer); ALTER TABLE properties OWNER TO bestays;"
         "CREATE INDEX idx_properties_tags ON users (email); CREATE VIEW policies AS SELECT 1;"
         "CREATE TYPE amenities AS ENUM ('wifi')",
         "index idx_properties_tags of bestays; type amenities of postgres;"
         " view policies of postgres; table properties of bestays", "rename what is in the way"),
        ("CREATE SEQUENCE property_translations_id_seq; ALTER SEQUENCE property_translations_id_seq"
         " OWNER TO bestays", "property_translations_id_seq of bestays", "rename what is in")],
    "current schema": [
        ("CREATE SCHEMA bestays AUTHORIZATION bestays", "bestays", "search_path = public, best")],
    "may create tables": [
        ("ALTER SCHEMA public OWNER TO postgres; REVOKE CREATE ON SCHEMA public FROM PUBLIC",
         "CREATE TABLE: permission denied", "GRANT CREATE ON SCHEMA"),
        ("ALTER DATABASE {db} SET default_transaction_read_only = on",
         "in a read-only transaction", "default_transaction_read_only = off"),
        ("ALTER DATABASE {db} SET default_tablespace = pg_global",
         "denied for tablespace pg_global", "SET default_tablespace = pg_default;"),
        (NO_TRIGGER, "CREATE TRIGGER: ask before", "ALTER EVENT TRIGGER no_ddl DISABLE;")],
    "trigger function": [
        (FUNCTION.replace("NEW;", "NULL;"),
         "another update_updated_at_column() is there, of postgres", "rename"),
        (FUNCTION + "ALTER FUNCTION update_updated_at_column() SECURITY DEFINER STABLE",
         "does the same, but not as validation wants it", "INVOKER RESET ALL;"),
        (FUNCTION + "REVOKE EXECUTE ON FUNCTION update_updated_at_column() FROM PUBLIC",
         "lacks EXECUTE on update_updated_at_column()", "GRANT EXECUTE ON")],
    "connections": [
        ("ALTER DATABASE {db} CONNECTION LIMIT 1", "has room for 0 more, yoyo needs 2", "-1;")],
}  # fmt: skip
# Here apply goes in: PostgreSQL takes another name for a sequence; validation fails with the last.
STRICTER = ("_id_seq of bestays", "id is bigint", "not as validation wants it")
OBJECTS = """SELECT relname FROM pg_class WHERE relname !~ 'yoyo|^pg_toast'
UNION ALL SELECT proname FROM pg_proc ORDER BY 1"""

# Of all this together check says nothing: the migration goes in, and comes back.
UNUSUAL = f"""{PARTITIONED} {FUNCTION}
ALTER ROLE bestays IN DATABASE {{db}} SET statement_timeout = '200ms';
ALTER ROLE bestays IN DATABASE {{db}} SET lock_timeout = '50ms';
ALTER ROLE bestays IN DATABASE {{db}} SET idle_session_timeout = '10min'"""
USE = """INSERT INTO amenities (id, category) VALUES ('wifi', 'interior');
INSERT INTO amenity_translations (amenity_id, locale, name) VALUES ('wifi', 'en', 'Wifi')"""
# Of each of this it warns, and the migration goes in beside all of it, and comes back.
WARNINGS = [
    ("idle_session_timeout", "ALTER DATABASE {db} SET idle_session_timeout = '30s'",
     "30 s", "PGOPTIONS='-c idle_session_timeout=0' yoyo apply -d 'post"),
    ("may create tables", "CREATE ACCESS METHOD heap2 TYPE TABLE HANDLER heap_tableam_handler;"
     "ALTER DATABASE {db} SET default_table_access_method = heap2",
     "default_table_access_method is heap2", "method = heap;"),
    ("table users", "CREATE TABLE agents () INHERITS (users); ALTER TABLE agents OWNER TO bestays",
     "agents inherits from users", "can be no author"),
    ("table users", KEEP, "trigger keep may keep a user", "see whether that is meant"),
    ("table users", "CREATE RULE keep AS ON DELETE TO users DO INSTEAD NOTHING",
     "rule keep stands in for the deletion", "see whether that is meant"),
    ("publications", "CREATE PUBLICATION p FOR TABLE users",
     "p publishes users, and will not", "ALTER PUBLICATION p ADD TABLE"),
    ("publications", "CREATE PUBLICATION everything FOR ALL TABLES",
     "everything publishes whatever is made in public", "Apply it on each subscriber first"),
    ("other roles", APPLICATION, '"the app" has DELETE, INSERT, SELECT, UPDATE on users, and not',
     "ALTER DEFAULT PRIVILEGES FOR ROLE bestays"),
    ("other roles", "GRANT SELECT ON users TO PUBLIC",
     "PUBLIC has SELECT on users", "ON TABLES TO PUBLIC;"),
    ("may back up", "SELECT lo_create(4711)",
     "may not read all of large object 4711", "Back up as a superuser"),
]  # fmt: skip


def troubles(database: Database, command: str = "check") -> tuple[int, list[dict]]:
    """Exit code, and what did not pass."""
    code, results = database.look(command)
    return code, [r for r in results if r["status"] != "pass"]


def row(database: Database, check: str) -> dict:
    return next(r for r in database.look("check")[1] if r["check"] == check)


def paste(database: Database, finding: dict) -> None:
    """Runs the SQL of its way out, as a superuser may."""
    database.superuser(re.search(r"(ALTER|GRANT|BEGIN|CREATE) .*;", finding["what_to_do"])[0])


@pytest.mark.parametrize(
    ("check", "breach", "found", "way_out"), [(c, *case) for c in FAILURES for case in FAILURES[c]]
)
def test_where_check_fails_apply_fails_until_the_way_out_was_taken(
    unmigrated, check, breach, found, way_out
):
    unmigrated.superuser(breach.format(db=unmigrated.name))
    here = f"FROM pg_stat_activity WHERE datname = '{unmigrated.name}'"
    nobody = f"SELECT count(*) {here} HAVING count(*) = 0"
    Database(unmigrated.server, "postgres").wait_for(nobody, "no session counts but that of check")
    code, failures = troubles(unmigrated)
    assert code == 1
    # The trial meets what another check names, too.
    assert {r["check"] for r in failures} - {"may create tables"} <= {check}
    failures = [r for r in failures if r["check"] == check]
    for failure, fault in zip(failures, found.split("; "), strict=True):
        assert failure["status"] == "fail"
        assert fault in failure["found"] and way_out in failure["what_to_do"]
    before = unmigrated.superuser(OBJECTS)
    # yoyo would try for ten seconds to write its lock.
    by_psql = check == "may create tables"
    done = unmigrated.script(MIGRATION) if by_psql else unmigrated.yoyo("apply")
    if found.endswith(STRICTER):
        well(done)
    else:
        assert done.returncode != 0
        assert unmigrated.superuser(OBJECTS) == before
    if failure["what_to_do"].endswith(";"):
        paste(unmigrated, failure)
        assert troubles(unmigrated) == (0, [])
        unmigrated.apply()
        assert unmigrated.look("validate")[0] == 0


def test_where_check_finds_nothing_the_migration_goes_in(unmigrated):
    unmigrated.superuser(UNUSUAL.format(db=unmigrated.name))
    assert troubles(unmigrated) == (0, [])
    unmigrated.apply()
    assert troubles(unmigrated, "validate") == (0, [])
    unmigrated.roll_back()


def test_where_check_warns_the_migration_goes_in(unmigrated):
    for _, breach, *_ in WARNINGS:
        unmigrated.superuser(breach.format(db=unmigrated.name))
    code, warnings = troubles(unmigrated)
    assert (code, len(warnings)) == (0, len(WARNINGS)), warnings
    for check, _, found, way_out in WARNINGS:
        (warning,) = (r for r in warnings if r["check"] == check and found in r["found"])
        assert way_out in warning["what_to_do"]
    unmigrated.apply()
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        unmigrated.execute(USE, user="the app")
    code, by_validation = troubles(unmigrated, "validate")
    left_out = [r for r in by_validation if r["check"] == "other roles"]
    assert (code, len(left_out)) == (0, 2)
    for warning in left_out:
        paste(unmigrated, warning)
    unmigrated.execute(USE, user="the app")
    assert troubles(unmigrated, "validate") == (0, [r for r in by_validation if r not in left_out])
    unmigrated.execute("DELETE FROM amenities")
    unmigrated.roll_back()
    mended = [r for r in warnings if r["check"] in ("may create tables", "other roles")]
    for warning in mended:
        paste(unmigrated, warning)
    assert troubles(unmigrated) == (0, [r for r in warnings if r not in mended])
    unmigrated.apply()
    unmigrated.execute(USE, user="the app")
    assert troubles(unmigrated, "validate") == (0, [r for r in by_validation if r not in left_out])


def test_no_usage_on_what_every_statement_needs(unmigrated):
    for what in ("LANGUAGE plpgsql", "SCHEMA public"):
        unmigrated.superuser(f"ALTER {what} OWNER TO postgres; REVOKE ALL ON {what} FROM PUBLIC")
        done = unmigrated.validation("check")
        refused(done, f"bestays may not use the {what.lower()}. As its owner: GRANT USAGE")
        assert unmigrated.script(MIGRATION).returncode != 0
        paste(unmigrated, {"what_to_do": done.stderr})
    paste(unmigrated, row(unmigrated, "may create tables"))
    unmigrated.apply()


def test_the_tables_of_yoyo_belong_to_another_role(unmigrated):
    unmigrated.superuser("CREATE ROLE application")
    well(unmigrated.yoyo("list"))
    tables = ("_yoyo_log", "_yoyo_migration", "_yoyo_version", "yoyo_lock")
    for table in tables:
        unmigrated.superuser(f"ALTER TABLE {table} OWNER TO application")
    for command in ("check", "state"):
        done = unmigrated.validation(command)
        said = f"bestays may not read {', '.join(tables)} of application. As application: GRANT"
        refused(done, said)
    paste(unmigrated, {"what_to_do": done.stderr})
    assert troubles(unmigrated) == (0, [])
    for what in ("INSERT, DELETE ON yoyo_lock", "INSERT ON _yoyo_log"):
        unmigrated.superuser(f"REVOKE {what} FROM bestays")
    code, failures = troubles(unmigrated)
    assert (code, [r["found"] for r in failures]) == (1, [
        "bestays lacks INSERT on _yoyo_log of application",
        "bestays lacks INSERT, DELETE on yoyo_lock of application",
    ])  # fmt: skip
    for failure in failures:
        paste(unmigrated, failure)
    unmigrated.apply()
    unmigrated.roll_back()


def test_a_backup_by_a_role_that_does_not_see_all(unmigrated, in_checkout):
    def way_out(found: str) -> str:
        refused(unmigrated.operations("migrate"), "Backup failed: ", "secrets")
        _, (warning,) = troubles(unmigrated)
        assert found in warning["found"]
        paste(unmigrated, warning)
        return warning["what_to_do"]

    try:
        unmigrated.superuser("CREATE TABLE secrets ()")
        unmigrated.superuser("CREATE SCHEMA hidden CREATE TABLE secrets ()")
        assert "GRANT pg_read_all_data" in way_out("may not read all of hidden.secrets and 1 more")
        well(unmigrated.operations("backup-db"))
        row_security = "FORCE ROW LEVEL SECURITY, ENABLE ROW LEVEL SECURITY"
        unmigrated.superuser(f"ALTER TABLE secrets OWNER TO bestays, {row_security}")
        said = way_out("may not read all of secrets")
        backup = Database(unmigrated.server, unmigrated.name, "backup")
        well(backup.operations("backup-db"), ".dump: ")
        without = shlex.split(re.search(r"then: (.*)\. As a superuser", said)[1])
        done = unmigrated.run(*without)
        well(done, "All 181 checks passed")
        assert "\nBackup" not in done.stdout
    finally:
        unmigrated.superuser("REVOKE pg_read_all_data FROM bestays; DROP ROLE IF EXISTS backup")


@pytest.fixture(scope="module")
def publishing(tmp_path_factory):
    """A server for logical replication."""
    server = Server(data=tmp_path_factory.mktemp("logical") / "data")
    server.start({"fsync": "off", "wal_level": "logical", "wal_retrieve_retry_interval": "200ms"})
    yield server
    server.stop("immediate")


@pytest.mark.parametrize("what", ["TABLES IN SCHEMA public", "TABLE users"])
def test_a_subscriber(publishing, what):
    name = what.replace(" ", "_").lower()
    publisher, subscriber = (Database(publishing, f"{name}_{n}") for n in range(2))
    for database in (publisher, subscriber):
        publishing.bootstrap(database.name)
    publisher.superuser(f"CREATE PUBLICATION p FOR {what}")
    publisher.superuser(f"SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')")
    subscriber.superuser(
        f"CREATE SUBSCRIPTION {name} CONNECTION 'host={publisher.host} user=postgres"
        f" dbname={publisher.name}' PUBLICATION p WITH (create_slot = false)"
    )
    assert "come by a subscription" in troubles(subscriber)[1][0]["found"]
    errors = f"SELECT apply_error_count FROM pg_stat_subscription_stats WHERE subname = '{name}'"
    code, (warning,) = troubles(publisher)
    assert (code, warning["check"]) == (0, "publications")
    publisher.apply()
    publisher.execute("INSERT INTO users (email) VALUES ('a@example.com')")
    if what != "TABLE users":
        subscriber.wait_for(f"{errors} AND apply_error_count > 0", "the subscriber stops")
        assert not subscriber.execute("SELECT 1 FROM users")
    subscriber.apply()
    subscriber.wait_for("SELECT 1 FROM users", "the subscriber goes on")
    if what == "TABLE users":
        paste(publisher, warning)
    subscriber.superuser(f"ALTER SUBSCRIPTION {name} REFRESH PUBLICATION WITH (copy_data = false)")
    publisher.execute("INSERT INTO amenities (id, category) VALUES ('wifi', 'interior')")
    subscriber.wait_for("SELECT 1 FROM amenities", "the new tables come, too")
    if what == "TABLE users":
        return
    # From here on as the runbook says of a later migration: by psql on the subscriber
    marked = "SELECT 1 FROM _yoyo_migration"
    for by_yoyo in (False, True):
        before = subscriber.value(errors)
        publisher.roll_back()
        subscriber.wait_for(f"SELECT 1 WHERE NOT EXISTS ({marked})", "the mark goes")
        well(subscriber.script(ROLLBACK))
        subscriber.apply() if by_yoyo else well(subscriber.script(MIGRATION))
        publisher.apply()
        if by_yoyo:
            stops = f"{errors} AND apply_error_count > {before}"
            subscriber.wait_for(stops, "the mark stops the subscriber")
            subscriber.execute("DELETE FROM _yoyo_migration WHERE migration_id ~ '^0001'")
        subscriber.wait_for(f"{marked} WHERE NOT EXISTS (SELECT FROM yoyo_lock)", "the mark comes")
        assert subscriber.look("state")[0] == 0


@pytest.mark.parametrize(
    ("mode", "user", "name", "found", "way_out"),
    [
        ("ROW EXCLUSIVE", "bestays", "report", r"transaction {} of bestays \(report\), open for \d",
         "Wait until it ends, or SELECT pg_terminate_backend({});"),
        ("ROW EXCLUSIVE", "postgres", "", "transaction {} of postgres, age not visible", "{}"),
        ("ACCESS SHARE", "bestays", "report", "none that the migration would wait for", ""),
        ("ACCESS SHARE", "bestays", "pg_dump", "dump {} of bestays", "a rollback would wait"),
        ("SHARE UPDATE EXCLUSIVE", "bestays", "", "vacuum {} of bestays", "deadlock_timeout, 3s,"),
    ],
)  # fmt: skip
def test_a_session_on_users(unmigrated, mode, user, name, found, way_out):
    unmigrated.superuser(f"ALTER DATABASE {unmigrated.name} SET deadlock_timeout = '3s'")
    with unmigrated.holding(f"LOCK TABLE users IN {mode} MODE", user, name) as pid:
        result = row(unmigrated, "sessions on users")
    assert result["status"] == ("warn" if way_out else "pass")
    assert re.match(found.format(pid), result["found"])
    assert way_out.format(pid) in (result["what_to_do"] or "")


def test_a_vacuum_against_wraparound(unmigrated):
    unmigrated.execute("ALTER TABLE users SET (autovacuum_freeze_max_age = 100000)")
    with unmigrated.holding("LOCK TABLE users IN SHARE UPDATE EXCLUSIVE MODE"):
        unmigrated.execute(
            "DO $$ BEGIN FOR i IN 1..110000 LOOP PERFORM txid_current(); COMMIT; END LOOP; END $$"
        )
        assert "It does not give way" in row(unmigrated, "sessions on users")["what_to_do"]


def test_an_autovacuum_of_a_partition_gives_way_as_check_says(unmigrated, tmp_path):
    unmigrated.superuser(PARTITIONED)
    unmigrated.execute("INSERT INTO users (email) SELECT n FROM generate_series(1, 20000) AS n")
    unmigrated.superuser(f"ALTER DATABASE {unmigrated.name} SET deadlock_timeout = '3s'")
    at_once = tmp_path / "at_once.sql"
    at_once.write_text(MIGRATION.read_text().replace("'10 seconds'", "'0 seconds'"))
    with autovacuum(unmigrated, "u"):
        found = row(unmigrated, "sessions on users")
        assert re.match(r"vacuum \d+ of the server itself, age not visible", found["found"])
        assert "An autovacuum gives way after deadlock_timeout, 3s" in found["what_to_do"]
        well(unmigrated.script(at_once))


def test_who_writes_a_partition_of_users_is_named(unmigrated, tmp_path):
    unmigrated.superuser(PARTITIONED)
    write = "LOCK TABLE u IN ROW EXCLUSIVE MODE"

    def is_named(text: str, patience: str, impatience: str) -> None:
        assert patience in text
        (tmp_path / "impatient.sql").write_text(text.replace(patience, impatience))
        with unmigrated.holding(write) as pid:
            done = unmigrated.script(tmp_path / "impatient.sql")
        assert f"in the way: pid {pid} (" in done.stderr

    with unmigrated.holding(write) as pid:
        assert f"transaction {pid} of" in row(unmigrated, "sessions on users")["found"]
    is_named(MIGRATION.read_text(), "'1 minute'", "'0 seconds'")
    unmigrated.apply()
    is_named(ROLLBACK.read_text(), "'1 minute'", "'0 seconds'")
    unmigrated.execute("INSERT INTO amenities (id, category) VALUES ('wifi', 'interior')")
    unmigrated.roll_back(PGOPTIONS="-c property_v2.allow_data_loss=off")
    is_named(script("drop_kept.sql"), "IN 1..80", "IN 1..1")


def test_disk_space(unmigrated):
    file = str(PROJECT / "validation" / "check" / "70_disk.sql")
    said = {"": "warn|unknown free", "39999999": "fail|38 MB free", "40000000": "pass|"}
    for free in said:
        done = unmigrated.psql("-At", "-f", file, PGOPTIONS=f"-c property_v2.free_bytes={free}")
        well(done, f"disk space|{said[free]}")


def test_a_lock_is_waited_for_no_longer_than_five_seconds(unmigrated):
    """A check that cannot run is a failed check, not a crash, and the others run."""
    with unmigrated.holding("LOCK TABLE pg_settings", "postgres"):
        result = row(unmigrated, "idle session")
    assert result["status"] == "fail"
    assert "could not be checked: canceling statement due to lock timeout" in result["found"]


def test_encoding(server):
    with clone(server, "template0 ENCODING 'LATIN1' LOCALE 'C'") as database:
        result = row(database, "encoding")
    assert (result["status"], result["found"]) == ("fail", "LATIN1")


WRONG = "That is not a database URL"
NO_CONNECTION = {
    "postgresql://bestays@/none?host={host}": 'database "none" does not exist): create it',
    "postgresql://bestays@/postgres?host=/nowhere": "start the server",
    "postgresql://locked@/postgres?host={host}": "~/.pgpass",
    "postgresql://locked:wrong@/postgres?host={host}": "~/.pgpass",
    "postgresql://host:port/x": WRONG,
    "mysql://user:secret@host/x": WRONG,
    "bestays": WRONG,
    "postgresql://bestays@/postgres?host={host}&colour=red": 'connection option "colour"',
}


def test_no_connection_is_one_sentence_and_exit_2(server):
    database = Database(server, "postgres")
    database.superuser("CREATE ROLE locked LOGIN PASSWORD 'right'")
    rules = server.cluster / "pg_hba.conf"
    rules.write_text(f"local all locked scram-sha-256\n{rules.read_text()}")
    database.superuser("SELECT pg_reload_conf()")
    for url in NO_CONNECTION:
        database.url = url.format(host=database.host)
        done = database.validation("check", "--format", "json")
        refused(done, NO_CONNECTION[url])
        assert not done.stdout
        for secret in ("wrong", "secret"):
            assert secret not in done.stderr.replace("authentication failed", "")
