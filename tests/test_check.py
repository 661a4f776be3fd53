"""What check says of a server, beside what apply, backup and validation then do there.

Each environment is made for real. Where check prints SQL as the way out, it is run as printed.
"""

from __future__ import annotations

import re
import shlex

import psycopg
import pytest

from local_postgres.server import Server
from operations.target import script

from .conftest import MIGRATIONS, PROJECT, Database, refused, well
from .conftest import newest as server  # noqa: F401
from .test_live_traffic import autovacuum

MIGRATION = MIGRATIONS / "0001_property_v2.sql"
FUNCTION = (
    "CREATE FUNCTION update_updated_at_column() RETURNS trigger LANGUAGE plpgsql"
    " AS 'BEGIN NEW.updated_at = CURRENT_TIMESTAMP; RETURN NEW; END'"
)
NO_DDL = (
    "CREATE FUNCTION forbid() RETURNS event_trigger LANGUAGE plpgsql"
    " AS 'BEGIN RAISE EXCEPTION ''ask before you do that''; END';"
    " CREATE EVENT TRIGGER no_ddl ON {} EXECUTE FUNCTION forbid()"
)
EXTENSIONS = "CREATE SCHEMA extensions; ALTER EXTENSION vector SET SCHEMA extensions;"
APPLICATION = (
    "ALTER TABLE users OWNER TO application; ALTER SEQUENCE users_id_seq OWNER TO application;"
    "GRANT REFERENCES, SELECT ON users TO bestays; GRANT SELECT ON users_id_seq TO bestays"
)
UNREAD = "CREATE TABLE secrets (); CREATE SCHEMA hidden; CREATE TABLE hidden.secrets ()"
HIDDEN = (
    "CREATE TABLE secrets (); ALTER TABLE secrets OWNER TO bestays;"
    "ALTER TABLE secrets ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY"
)
PARTITIONED = (
    "DROP TABLE users; CREATE TABLE users (id serial PRIMARY KEY, email text NOT NULL,"
    " full_name text) PARTITION BY HASH (id);"
    "CREATE TABLE u PARTITION OF users FOR VALUES WITH (MODULUS 1, REMAINDER 0);"
    "ALTER TABLE users OWNER TO bestays; ALTER TABLE u OWNER TO bestays"
)

# What the superuser does to the database, and then the one check that fails, with what it says.
FAILURES = [
    ("DROP EXTENSION vector; ALTER DATABASE {db} SET extension_control_path = '/nowhere'",
     "extension vector", "not available on this server", "Install pgvector"),
    ("DROP EXTENSION vector",
     "extension vector", "available, but not created", "CREATE EXTENSION vector"),
    (f"{EXTENSIONS} GRANT USAGE ON SCHEMA extensions TO bestays",
     "extension vector", "extensions is not on the search_path", "public, extensions;"),
    (f"{EXTENSIONS} ALTER DATABASE {{db}} SET search_path = public, extensions",
     "extension vector", "lacks USAGE on its schema extensions", "GRANT USAGE ON SCHEMA"),
    ("REVOKE USAGE ON TYPE vector FROM PUBLIC",
     "extension vector", "lacks USAGE on the type", "GRANT USAGE ON TYPE public.vector"),
    (f"{EXTENSIONS} GRANT USAGE ON SCHEMA extensions TO bestays; CREATE DOMAIN vector AS text;"
     " ALTER DATABASE {db} SET search_path = public, extensions",
     "extension vector", "vector comes before extensions.vector", "Rename the other type"),
    ("DROP TABLE users",
     "table users", "there is no table users", "earlier migrations"),
    ("ALTER TABLE users ALTER COLUMN id TYPE bigint",
     "table users", "id is bigint", "right database"),
    ("ALTER TABLE users DROP CONSTRAINT users_pkey",
     "table users", "id is not unique", "ADD PRIMARY KEY (id)"),
    ("ALTER TABLE users SET UNLOGGED",
     "table users", "users is unlogged", "ALTER TABLE users SET LOGGED;"),
    ("ALTER TABLE users RENAME TO people; CREATE VIEW users AS SELECT * FROM people;"
     "ALTER VIEW users OWNER TO bestays",
     "table users", "users is a view", "right database"),
    ("DROP TABLE users; CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;"
     "CREATE FOREIGN TABLE users (id integer) SERVER s; ALTER TABLE users OWNER TO bestays",
     "table users", "users is a foreign table", "right database"),
    ("ALTER TABLE users OWNER TO postgres; GRANT SELECT ON users, users_id_seq TO bestays",
     "may refer to users", "bestays lacks REFERENCES on users", "GRANT REFERENCES ON users"),
    ("CREATE TABLE properties (id integer); ALTER TABLE properties OWNER TO bestays",
     "names", "table properties of bestays is in the way", "rename what is in the way"),
    ("CREATE INDEX idx_properties_tags ON users (email)",
     "names", "index idx_properties_tags of bestays is in the way", "rename what is in the way"),
    ("CREATE VIEW policies AS SELECT 1",
     "names", "view policies of postgres is in the way", "rename what is in the way"),
    ("CREATE SEQUENCE property_translations_id_seq;"
     "ALTER SEQUENCE property_translations_id_seq OWNER TO bestays",
     "names", "sequence property_translations_id_seq of bestays", "rename what is in the way"),
    ("CREATE TYPE amenities AS ENUM ('wifi')",
     "names", "type amenities of postgres is in the way", "rename what is in the way"),
    ("CREATE SCHEMA bestays AUTHORIZATION bestays",
     "current schema", "bestays", "SET search_path = public, bestays;"),
    ("ALTER SCHEMA public OWNER TO postgres; REVOKE CREATE ON SCHEMA public FROM PUBLIC",
     "may create tables", "CREATE TABLE: permission denied", "GRANT CREATE ON SCHEMA"),
    ("ALTER ROLE bestays IN DATABASE {db} SET default_transaction_read_only = on",
     "may create tables", "in a read-only transaction", "default_transaction_read_only = off"),
    ("ALTER DATABASE {db} SET default_transaction_read_only = on",
     "may create tables", "in a read-only transaction", "default_transaction_read_only = off"),
    ("ALTER DATABASE {db} SET default_tablespace = slow",
     "may create tables", "denied for tablespace slow", "SET default_tablespace = pg_default;"),
    (NO_DDL.format("ddl_command_start"),
     "may create tables", "CREATE TABLE: ask before", "ALTER EVENT TRIGGER no_ddl DISABLE;"),
    (NO_DDL.format("ddl_command_end WHEN TAG IN ('CREATE TRIGGER')"),
     "may create tables", "CREATE TRIGGER: ask before", "ALTER EVENT TRIGGER no_ddl DISABLE;"),
    ("CREATE FUNCTION update_updated_at_column() RETURNS trigger LANGUAGE plpgsql"
     " AS 'BEGIN RETURN NULL; END'",
     "trigger function", "another update_updated_at_column() is there, of postgres", "rename"),
    (f"{FUNCTION}; ALTER FUNCTION update_updated_at_column() SECURITY DEFINER STABLE",
     "trigger function", "does the same, but not as validation wants it", "INVOKER RESET ALL;"),
    (f"{FUNCTION}; REVOKE EXECUTE ON FUNCTION update_updated_at_column() FROM PUBLIC",
     "trigger function", "lacks EXECUTE on update_updated_at_column()", "GRANT EXECUTE ON"),
    ("ALTER DATABASE {db} CONNECTION LIMIT 1",
     "connections", "has room for 0 more, yoyo needs 2", "CONNECTION LIMIT -1;"),
]  # fmt: skip
# Here apply goes in: PostgreSQL takes another name for a sequence; validation fails with the last.
STRICTER = ("_id_seq of bestays", "id is bigint", "not as validation wants it")

# Here the migration goes in. Check warns of something else, or with None says that all is well.
WARNINGS = [
    (PARTITIONED, None, "", ""),
    ("ALTER ROLE bestays IN DATABASE {db} SET statement_timeout = '200ms';"
     "ALTER ROLE bestays IN DATABASE {db} SET lock_timeout = '50ms';"
     "ALTER ROLE bestays IN DATABASE {db} SET transaction_timeout = '1s';"
     "ALTER ROLE bestays IN DATABASE {db} SET idle_session_timeout = '10min';"
     "ALTER ROLE bestays IN DATABASE {db} SET idle_in_transaction_session_timeout = '1s'",
     None, "", ""),
    ("ALTER DATABASE {db} SET idle_session_timeout = '30s'",
     "idle_session_timeout", "30 s", "PGOPTIONS='-c idle_session_timeout=0' yoyo apply -d 'post"),
    (FUNCTION, None, "", ""),
    ("CREATE ACCESS METHOD heap2 TYPE TABLE HANDLER heap_tableam_handler;"
     "ALTER DATABASE {db} SET default_table_access_method = heap2",
     "may create tables", "default_table_access_method is heap2", "method = heap;"),
    ("CREATE TABLE agents () INHERITS (users); ALTER TABLE agents OWNER TO bestays",
     "table users", "agents inherits from users", "can be no author"),
    ("CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
     "CREATE TRIGGER keep BEFORE DELETE ON users FOR EACH ROW EXECUTE FUNCTION keep()",
     "table users", "trigger keep may keep a user", "see whether that is meant"),
    ("CREATE RULE keep AS ON DELETE TO users DO INSTEAD NOTHING",
     "table users", "rule keep stands in for the deletion", "see whether that is meant"),
    ("CREATE PUBLICATION p FOR TABLE users",
     "publications", "p publishes users, and will not", "ALTER PUBLICATION p ADD TABLE"),
    (APPLICATION,
     "other roles", "application has DELETE, INSERT, SELECT, UPDATE on users, and not on",
     "ALTER DEFAULT PRIVILEGES FOR ROLE bestays"),
    ("GRANT SELECT ON users TO PUBLIC",
     "other roles", "PUBLIC has SELECT on users", "ON TABLES TO PUBLIC;"),
    (UNREAD,
     "may back up", "may not read all of hidden.secrets and 1 more", "GRANT pg_read_all_data"),
    (HIDDEN,
     "may back up", "may not read all of secrets", "CREATE ROLE backup LOGIN BYPASSRLS"),
    ("SELECT lo_create(4711)",
     "may back up", "may not read all of large object 4711", "Back up as a superuser"),
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def outsiders(servers):
    """What a database shares with the others of its server: a role and a tablespace."""
    with Database(servers[0], "postgres").connect("postgres") as session:
        session.execute("SET allow_in_place_tablespaces = on")
        session.execute("CREATE TABLESPACE slow LOCATION ''")
        session.execute("CREATE ROLE application LOGIN")
        yield
        session.execute("DROP TABLESPACE slow")
        session.execute("DROP ROLE application")


def troubles(database: Database, command: str = "check") -> tuple[int, list[dict]]:
    """Exit code, and what did not pass."""
    code, results = database.look(command)
    return code, [r for r in results if r["status"] != "pass"]


def row(database: Database, check: str) -> dict:
    return next(r for r in database.look("check")[1] if r["check"] == check)


def paste(database: Database, way_out: str) -> None:
    """Runs the SQL of a way out, as a superuser may."""
    database.superuser(re.search(r"(ALTER|GRANT|BEGIN|CREATE) .*;$", way_out)[0])


@pytest.mark.parametrize(("breach", "check", "found", "way_out"), FAILURES)
def test_where_check_fails_apply_fails_until_the_way_out_was_taken(
    unmigrated, breach, check, found, way_out
):
    unmigrated.superuser(breach.format(db=unmigrated.name))
    before = unmigrated.dump()
    code, failures = troubles(unmigrated)
    assert code == 1
    # The trial meets what another check names, too.
    assert {r["check"] for r in failures} - {"may create tables"} <= {check}
    (failure,) = (r for r in failures if r["check"] == check)
    assert failure["status"] == "fail"
    assert found in failure["found"] and way_out in failure["what_to_do"]
    if not found.endswith(STRICTER):
        # yoyo would try for ten seconds to write its lock.
        by_psql = check == "may create tables"
        done = unmigrated.script(MIGRATION) if by_psql else unmigrated.yoyo("apply")
        assert done.returncode != 0
        assert unmigrated.dump() == before
    if failure["what_to_do"].endswith(";"):
        paste(unmigrated, failure["what_to_do"])
        assert troubles(unmigrated) == (0, [])
        unmigrated.apply()
        assert unmigrated.look("validate")[0] == 0


@pytest.mark.parametrize(("breach", "check", "found", "way_out"), WARNINGS)
def test_where_check_warns_the_migration_goes_in(unmigrated, breach, check, found, way_out):
    unmigrated.superuser(breach.format(db=unmigrated.name))
    code, warnings = troubles(unmigrated)
    assert code == 0
    assert [r["check"] for r in warnings] == [check] * bool(check)
    assert all(found in r["found"] and way_out in r["what_to_do"] for r in warnings)
    unmigrated.apply()
    assert unmigrated.look("validate")[0] == 0
    unmigrated.roll_back()
    if re.search("method|ON TABLES", way_out):
        paste(unmigrated, warnings[0]["what_to_do"])
        assert troubles(unmigrated) == (0, [])
        unmigrated.apply()
        assert "other roles" not in {r["check"] for r in unmigrated.look("validate")[1]}


@pytest.mark.parametrize("what", ["SCHEMA public", "LANGUAGE plpgsql"])
def test_no_usage_on_what_every_statement_needs(unmigrated, what):
    unmigrated.superuser("ALTER SCHEMA public OWNER TO postgres")
    unmigrated.superuser(f"REVOKE ALL ON {what} FROM PUBLIC")
    for command in ("check", "state", "validate"):
        done = unmigrated.validation(command)
        refused(done, f"bestays may not use the {what.lower()}. As its owner: GRANT USAGE")
    assert unmigrated.script(MIGRATION).returncode != 0
    paste(unmigrated, done.stderr.strip())
    paste(unmigrated, row(unmigrated, "may create tables")["what_to_do"])
    unmigrated.apply()


def test_the_tables_of_yoyo_belong_to_another_role(unmigrated):
    well(unmigrated.yoyo("list"))
    tables = ("_yoyo_log", "_yoyo_migration", "_yoyo_version", "yoyo_lock")
    for table in tables:
        unmigrated.superuser(f"ALTER TABLE {table} OWNER TO application")
    for command in ("check", "state"):
        done = unmigrated.validation(command)
        said = f"bestays may not read {', '.join(tables)} of application. As application: GRANT"
        refused(done, said)
    paste(unmigrated, done.stderr.partition(" Nothing was changed")[0].strip(". \n"))
    assert troubles(unmigrated) == (0, [])
    unmigrated.superuser(
        "REVOKE INSERT, DELETE ON yoyo_lock FROM bestays; REVOKE INSERT ON _yoyo_log FROM bestays"
    )
    code, failures = troubles(unmigrated)
    assert (code, [r["found"] for r in failures]) == (1, [
        "bestays lacks INSERT on _yoyo_log of application",
        "bestays lacks INSERT, DELETE on yoyo_lock of application",
    ])  # fmt: skip
    for failure in failures:
        paste(unmigrated, failure["what_to_do"])
    unmigrated.apply()
    unmigrated.roll_back()


def test_validation_names_the_roles_that_were_left_out(unmigrated):
    unmigrated.superuser(APPLICATION)
    unmigrated.apply()
    use = (
        "INSERT INTO amenities (id, category) VALUES ('wifi', 'interior'); INSERT INTO"
        " amenity_translations (amenity_id, locale, name) VALUES ('wifi', 'en', 'Wifi')"
    )
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        unmigrated.execute(use, user="application")
    code, warnings = troubles(unmigrated, "validate")
    assert (code, warnings[-1]["check"]) == (0, "other roles")
    paste(unmigrated, warnings[-1]["what_to_do"])
    unmigrated.execute(use, user="application")
    assert troubles(unmigrated, "validate") == (0, warnings[:-1])


@pytest.mark.parametrize("breach", [UNREAD, HIDDEN])
def test_a_backup_by_a_role_that_does_not_see_all(unmigrated, checkout, breach):
    unmigrated.superuser(breach)
    refused(unmigrated.operations("migrate", cwd=checkout), "Backup failed: ", "secrets")
    way_out = row(unmigrated, "may back up")["what_to_do"]
    paste(unmigrated, way_out)
    try:
        if breach == UNREAD:
            well(unmigrated.operations("migrate", cwd=checkout), "\nBackup")
            return
        backup = Database(unmigrated.server, unmigrated.name, "backup")
        well(backup.operations("backup-db", cwd=checkout), ".dump: ")
        without = shlex.split(re.search(r"then: (.*)\. As a superuser", way_out)[1])
        done = unmigrated.run(*without, cwd=checkout)
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


@pytest.mark.parametrize("what", ["ALL TABLES", "TABLES IN SCHEMA public", "TABLE users"])
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
        paste(publisher, warning["what_to_do"])
    subscriber.superuser(f"ALTER SUBSCRIPTION {name} REFRESH PUBLICATION WITH (copy_data = false)")
    publisher.execute("INSERT INTO amenities (id, category) VALUES ('wifi', 'interior')")
    subscriber.wait_for("SELECT 1 FROM amenities", "the new tables come, too")
    if what == "TABLE users":
        return
    # From here on as the runbook says of a later migration
    marked = "SELECT 1 FROM _yoyo_migration"
    publisher.roll_back()
    subscriber.wait_for(f"SELECT 1 WHERE NOT EXISTS ({marked})", "the mark goes")
    well(subscriber.script(MIGRATION.with_suffix(".rollback.sql")))
    well(subscriber.script(MIGRATION))
    publisher.apply()
    subscriber.wait_for(f"{marked} WHERE NOT EXISTS (SELECT FROM yoyo_lock)", "the mark comes")
    assert subscriber.look("state")[0] == 0
    # By yoyo on both
    before = subscriber.value(errors)
    publisher.roll_back()
    subscriber.wait_for(f"SELECT 1 WHERE NOT EXISTS ({marked})", "the mark goes again")
    well(subscriber.script(MIGRATION.with_suffix(".rollback.sql")))
    subscriber.apply()
    publisher.apply()
    subscriber.wait_for(
        f"{errors} AND apply_error_count > {before}", "the mark stops the subscriber"
    )
    subscriber.execute("DELETE FROM _yoyo_migration WHERE migration_id = '0001_property_v2'")
    subscriber.wait_for(f"{marked} WHERE NOT EXISTS (SELECT FROM yoyo_lock)", "it goes on")


@pytest.mark.parametrize(
    ("mode", "user", "name", "found", "way_out"),
    [
        ("ROW EXCLUSIVE", "bestays", "report", r"transaction {} of bestays \(report\), open for \d",
         "Wait until it ends, or SELECT pg_terminate_backend({});"),
        ("ROW EXCLUSIVE", "postgres", "", "transaction {} of postgres, age not visible", "{}"),
        ("ACCESS SHARE", "bestays", "report", None, None),
        ("ACCESS SHARE", "bestays", "pg_dump", "dump {} of bestays", "a rollback would wait"),
        ("SHARE UPDATE EXCLUSIVE", "bestays", "", "vacuum {} of bestays", "deadlock_timeout, 3s,"),
    ],
)  # fmt: skip
def test_a_session_on_users(unmigrated, mode, user, name, found, way_out):
    unmigrated.superuser(f"ALTER DATABASE {unmigrated.name} SET deadlock_timeout = '3s'")
    lock = f"LOCK TABLE users IN {mode} MODE"
    with unmigrated.holding(lock, user, name) as pid:
        result = row(unmigrated, "sessions on users")
    assert result["status"] == ("warn" if found else "pass")
    if found:
        assert re.match(found.format(pid), result["found"])
        assert way_out.format(pid) in result["what_to_do"]


def test_a_vacuum_against_wraparound(unmigrated):
    unmigrated.execute("ALTER TABLE users SET (autovacuum_freeze_max_age = 100000)")
    with unmigrated.holding("LOCK TABLE users IN SHARE UPDATE EXCLUSIVE MODE"):
        unmigrated.execute(
            "DO $$ BEGIN FOR i IN 1..110000 LOOP PERFORM txid_current(); COMMIT; END LOOP; END $$"
        )
        assert "It does not give way" in row(unmigrated, "sessions on users")["what_to_do"]


@pytest.fixture
def partitioned(unmigrated) -> Database:
    """A database where users is partitioned: u is its one partition."""
    unmigrated.superuser(PARTITIONED)
    return unmigrated


def test_an_autovacuum_of_a_partition_gives_way_as_check_says(partitioned, tmp_path):
    partitioned.execute("INSERT INTO users (email) SELECT n FROM generate_series(1, 20000) AS n")
    partitioned.superuser(f"ALTER DATABASE {partitioned.name} SET deadlock_timeout = '3s'")
    at_once = tmp_path / "at_once.sql"
    at_once.write_text(MIGRATION.read_text().replace("'10 seconds'", "'0 seconds'"))
    with autovacuum(partitioned, "u"):
        found = row(partitioned, "sessions on users")
        assert re.match(r"vacuum \d+ of the server itself, age not visible", found["found"])
        assert "An autovacuum gives way after deadlock_timeout, 3s" in found["what_to_do"]
        done = partitioned.script(at_once)
    assert done.returncode == 0, done.stderr


def test_who_writes_a_partition_of_users_is_named(partitioned, tmp_path):
    write = "LOCK TABLE u IN ROW EXCLUSIVE MODE"

    def is_named(text: str, patience: str, impatience: str) -> None:
        assert patience in text
        (tmp_path / "impatient.sql").write_text(text.replace(patience, impatience))
        with partitioned.holding(write) as pid:
            done = partitioned.script(tmp_path / "impatient.sql")
        assert f"in the way: pid {pid} (" in done.stderr

    with partitioned.holding(write) as pid:
        assert f"transaction {pid} of" in row(partitioned, "sessions on users")["found"]
    is_named(MIGRATION.read_text(), "'1 minute'", "'0 seconds'")
    partitioned.apply()
    is_named(MIGRATION.with_suffix(".rollback.sql").read_text(), "'1 minute'", "'0 seconds'")
    partitioned.execute("INSERT INTO amenities (id, category) VALUES ('wifi', 'interior')")
    partitioned.roll_back(PGOPTIONS="-c property_v2.allow_data_loss=off")
    is_named(script("drop_kept.sql"), "IN 1..80", "IN 1..1")


@pytest.mark.parametrize(
    ("free", "said"), [("", "warn|unknown free"), ("39999999", "fail|38 MB free"), ("4e7", "pass")]
)
def test_disk_space(unmigrated, free, said):
    file = PROJECT / "validation" / "check" / "70_disk.sql"
    options = f"-c property_v2.free_bytes={free.replace('4e7', '40000000')}"
    assert f"disk space|{said}" in unmigrated.psql("-At", "-f", str(file), PGOPTIONS=options).stdout


def test_a_lock_is_waited_for_no_longer_than_five_seconds(unmigrated):
    """A check that cannot run is a failed check, not a crash, and the others run."""
    with unmigrated.holding("LOCK TABLE pg_settings", "postgres"):
        result = row(unmigrated, "idle session")
    assert result["status"] == "fail"
    assert "could not be checked: canceling statement due to lock timeout" in result["found"]


def test_encoding(server):
    others = Database(server, "postgres")
    others.superuser("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    try:
        result = row(Database(server, "latin"), "encoding")
        assert (result["status"], result["found"]) == ("fail", "LATIN1")
    finally:
        others.superuser("DROP DATABASE latin")


@pytest.fixture(scope="module")
def password_server(servers):
    """A server on which one role needs its password."""
    server = servers[0]
    Database(server, "postgres").superuser("CREATE ROLE locked LOGIN PASSWORD 'right'")
    rules = server.cluster / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text("local all locked scram-sha-256\n" + before)
    Database(server, "postgres").superuser("SELECT pg_reload_conf()")
    yield server
    rules.write_text(before)
    Database(server, "postgres").superuser("SELECT pg_reload_conf()")


@pytest.mark.parametrize("command", ["check", "validate", "state", "state --format json"])
@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://bestays@/none?host={host}", 'database "none" does not exist): create it'),
        ("postgresql://bestays@/postgres?host=/nowhere", "start the server"),
        ("postgresql://locked@/postgres?host={host}", "~/.pgpass"),
        ("postgresql://locked:wrong@/postgres?host={host}", "~/.pgpass"),
        ("postgresql://host:port/x", "That is not a database URL"),
        ("mysql://user:secret@host/x", "That is not a database URL"),
        ("bestays", "That is not a database URL"),
        ("postgresql://bestays@/postgres?host={host}&colour=red", 'connection option "colour"'),
        ("postgresql://?service=nowhere", 'definition of service "nowhere" not found'),
    ],
)
def test_no_connection_is_one_sentence_and_exit_2(password_server, command, url, said):
    url = url.format(host=password_server.socket_folder)
    database = Database(password_server, "postgres")
    done = database.run("python", "-m", "validation", *command.split(), "-d", url)
    refused(done, said)
    assert not done.stdout
    for secret in ("wrong", "secret"):
        assert secret not in done.stderr.replace("authentication failed", "")
