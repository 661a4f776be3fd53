"""The checks after the migration: what they say, and that they leave no trace."""

import json
import re
import select
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import groupby
from tempfile import TemporaryDirectory

import pytest

from common.database import connect

from .conftest import TABLES, Database, clone, refused, well
from .conftest import newest as server  # noqa: F401
from .test_indexes import CREATE, DROP

NEIGHBOURS = """
CREATE SCHEMA reporting;
CREATE TABLE reporting.properties (id integer PRIMARY KEY, title text);
CREATE TABLE orders (id serial PRIMARY KEY, user_id integer REFERENCES users, total bigint);
CREATE TABLE visits (property_id uuid REFERENCES properties ON DELETE CASCADE);
CREATE VIEW published AS SELECT * FROM properties WHERE is_published;
CREATE FUNCTION reporting.update_updated_at_column() RETURNS trigger LANGUAGE plpgsql
AS 'BEGIN RETURN NULL; END';
GRANT SELECT ON properties TO PUBLIC;
"""
COUNTS = {
    "tables": 6, "columns": 61, "constraints": 27, "indexes": 23, "triggers": 6, "function": 1,
    "sequences": 3, "comments": 16, "behaviour": 36, "query plan": 1, "query time": 1,
}  # fmt: skip
ON_DELETE = """
CREATE FUNCTION own() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN {}; END';
CREATE TRIGGER own BEFORE DELETE ON users FOR EACH ROW EXECUTE FUNCTION own()
"""
USERS = "the deletion of a user empties the author of a property"


def fingerprint(database: Database) -> tuple:
    """What the checks must leave as it was."""
    files = "SELECT oid, reltuples, relpages, relfilenode FROM pg_class WHERE oid > 16384"
    return database.superuser(f"{files} ORDER BY 1"), database.dump()


def found(database: Database) -> dict[str, list[dict]]:
    """What validate says, by check."""
    code, results = database.look("validate")
    assert code == any(r["status"] == "fail" for r in results)
    return {check: list(rows) for check, rows in groupby(results, lambda r: r["check"])}


def statuses(results: list[dict]) -> list[str]:
    return [r["status"] for r in results]


@pytest.mark.parametrize("template", ["migrated", "filled"])
def test_all_passes_among_neighbours_and_leaves_no_trace(server, template):
    with clone(server, template) as database:
        database.superuser(f"GRANT CREATE ON DATABASE {database.name} TO bestays")
        database.execute(NEIGHBOURS)
        if template == "filled":
            database.superuser("VACUUM ANALYZE")
        off = "ALTER TABLE {} SET (autovacuum_enabled = off);"
        database.execute("".join(off.format(table) for table in (*TABLES, "users")))
        before = fingerprint(database)
        checks = found(database)
        assert {*statuses(sum(checks.values(), []))} == {"pass"}
        assert {check: len(results) for check, results in checks.items()} == COUNTS
        assert database.look("check")[0] == database.look("state")[0] == 0
        done = database.validation("validate")
        well(done)
        *lines, summary = done.stdout.splitlines()
        assert len(lines) == len(COUNTS) and max(map(len, lines)) <= 100
        assert summary == "All 181 checks passed."
        assert fingerprint(database) == before


# What a role or a database may prefer: settings that do not hide each other stand together.
PREFERENCES = {
    "how values are written": (
        "quote_all_identifiers = on", "datestyle = 'SQL, DMY'", "intervalstyle = iso_8601",
        "extra_float_digits = -15", "bytea_output = escape", "timezone = 'Asia/Kathmandu'",
        "client_encoding = LATIN1", "search_path = reporting, pg_catalog", "xmlbinary = hex",
    ),
    "how SQL is read": (
        "standard_conforming_strings = off", "backslash_quote = off", "array_nulls = off",
        "transform_null_equals = on", "xmloption = document", "check_function_bodies = off",
        "plpgsql.extra_errors = 'all'", "search_path = ''", "client_encoding = SQL_ASCII",
    ),
    "what a plan may do": (
        "enable_indexscan = off", "enable_bitmapscan = off", "random_page_cost = 1000000",
        "work_mem = '64kB'", "jit_above_cost = 0", "default_statistics_target = 1",
        "plan_cache_mode = force_generic_plan",
    ),
    "what a transaction may do": (
        "default_transaction_read_only = on", "default_transaction_isolation = serializable",
        "default_transaction_deferrable = on", "row_security = off", "role = somebody",
        "default_table_access_method = another", "default_tablespace = pg_global",
        "temp_tablespaces = pg_global", "statement_timeout = '500ms'", "lock_timeout = '1ms'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", PREFERENCES)
def test_it_judges_the_schema_and_not_the_session(migrated, kind):
    """Every second setting is of the role, the others are of the database."""
    migrated.superuser(
        "CREATE SCHEMA reporting; CREATE ROLE somebody; GRANT somebody TO bestays;"
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO somebody;"
        "CREATE ACCESS METHOD another TYPE TABLE HANDLER heap_tableam_handler"
    )
    whose = (f"ROLE bestays IN DATABASE {migrated.name}", f"DATABASE {migrated.name}")

    def verdicts() -> set[tuple[str, str, str]]:
        """All of them, but for how long the query took."""
        return {(r["check"], r["status"], re.sub(r"^[\d.]+ ms", "", r["found"]))
                for r in migrated.look("validate")[1]
                if (r["check"], r["status"]) != ("query time", "warn")}  # fmt: skip

    try:
        before = verdicts()
        assert {status for _, status, _ in before} == {"pass"}
        for n, setting in enumerate(PREFERENCES[kind]):
            migrated.superuser(f"ALTER {whose[n % 2]} SET {setting}")
        assert verdicts() ^ before == set()
        with closing(connect(migrated.url)) as connection, connection.cursor() as cursor:
            for setting, value in (("statement_timeout", "0"), ("quote_all_identifiers", "off")):
                cursor.execute(f"SHOW {setting}")
                assert cursor.fetchone() == (value,)  # in every session of ours
        for command in (["check"], ["state"], ["monitor"], ["dry-run", "--rollback"]):
            code, said = migrated.look(*command)
            assert code < 2 and "could not be" not in str(said), (command, said)
    finally:
        migrated.superuser("DROP OWNED BY somebody; DROP ROLE somebody")


def test_it_runs_without_asserts_in_ascii_and_without_output(migrated):
    bare = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONOPTIMIZE": "2",
            "PGCLIENTENCODING": "LATIN1"}  # fmt: skip
    migrated.execute("COMMENT ON TABLE amenities IS 'ไวไฟ'")
    for options in ((), ("--format", "json")):
        done = migrated.validation("validate", *options, **bare)
        assert (done.returncode, done.stderr) == (1, ""), done.stdout
    said = [r["found"] for r in json.loads(done.stdout)["results"] if r["status"] == "fail"]
    assert said == ["amenities: expected nothing; found ไวไฟ"]
    done = migrated.run("python", "-m", "validation", "state", **bare)  # of yoyo.ini's database
    assert "database URL" not in done.stderr
    for closed in (">&-", ">&- 2>&-"):
        command = f"python -m validation validate -d '{migrated.url}' {closed}"
        done = migrated.run("/bin/sh", "-c", command, **bare)
        assert (done.returncode, done.stderr) == (1, "")


TERMINATE = b"X\0\0\0\4"
KEY = re.compile(rb"K\0\0\0\x0c....", re.DOTALL)


@contextmanager
def pooler(host: str) -> Iterator[tuple[str, socket.socket]]:
    """A host that stands for a pooler in transaction mode, and the one session that it has.

    What it has of one: all clients work in the session that was started for the first, get the
    process id and key of the pooler, and leave the session to the next.
    """
    with (
        TemporaryDirectory() as folder,
        socket.socket(socket.AF_UNIX) as listening,
        socket.socket(socket.AF_UNIX) as session,
    ):
        listening.bind(f"{folder}/.s.PGSQL.5432")
        listening.listen()
        session.connect(f"{host}/.s.PGSQL.5432")

        def serve() -> None:
            clients, client, greeting = [], session, b""
            while clients or not greeting:
                for ready in select.select([listening, *clients, session], [], [], 60)[0]:
                    if ready is listening:
                        clients.append(listening.accept()[0])
                    elif ready is session:
                        data = KEY.sub(b"K\0\0\0\x0c\0\0\0\7", session.recv(65536))
                        greeting = greeting or data
                        client.sendall(data)
                    elif (data := ready.recv(65536)) in (b"", TERMINATE):
                        clients.remove(ready)
                        ready.close()
                    elif greeting and data[0] == 0:  # the start of a later client
                        ready.sendall(greeting)
                    else:
                        client = ready
                        session.sendall(data)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield folder, session
        thread.join(60)


LEFT = b"""
SELECT name FROM pg_settings WHERE source = 'session'
UNION ALL SELECT objid::text FROM pg_depend WHERE refobjid = pg_my_temp_schema()
UNION ALL SELECT mode FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'\0"""


@pytest.mark.parametrize(
    "command",
    ["operations migrate", DROP, CREATE, "distribute.sql", "sample_data.sql"],
)
def test_a_pooler_is_refused_or_nothing_is_left_in_its_session(migrated, command):
    migrated.superuser(f"ALTER DATABASE {migrated.name} SET property_v2.allow_data_loss = on")
    with pooler(migrated.host) as (host, session):
        url = f"postgresql://bestays@/{migrated.name}?host={host}"
        psql = (migrated.server.program("psql"), "-X", "-q", "-d", url, "-f")
        if command == "sample_data.sql":
            given = ("-v", "n=10", "-v", "seed=1", "-v", "embeddings=0")
            well(migrated.run(*psql, f"operations/{command}", *given), "10 properties")
        elif command.endswith(".sql"):
            done = migrated.run(*psql, f"operations/{command}")
            assert (done.returncode, done.stdout) == (3, ""), done.stdout
            assert "ERROR:  A connection pooler answers here" in done.stderr
        else:
            done = migrated.run("python", "-m", *command.split(), "-d", url)
            refused(done, "A connection pooler answers here", "connect to the server itself")
        query = LEFT
        session.sendall(b"Q" + struct.pack(">I", len(query) + 4) + query)
        answer = b""
        while not re.search(rb"Z\0\0\0\x05.$", answer, re.DOTALL):
            assert select.select([session], [], [], 60)[0], answer
            answer += session.recv(65536)
    assert answer.endswith(b"C\0\0\0\x0dSELECT 0\0Z\0\0\0\5I"), answer  # idle, and nothing is set


@pytest.mark.parametrize(
    ("of_the_application", "said"),
    [
        ("CREATE TYPE role AS ENUM ('guest', 'agent');"
         "ALTER TABLE users ADD COLUMN role role NOT NULL, ADD COLUMN born date NOT NULL,"
         " ADD COLUMN key uuid NOT NULL UNIQUE, ADD COLUMN active boolean NOT NULL,"
         " ADD COLUMN settings jsonb NOT NULL, ADD COLUMN tags text[] NOT NULL,"
         " ADD COLUMN initials char(3) NOT NULL, ADD COLUMN credit numeric(8, 2) NOT NULL,"
         " ADD COLUMN doubled numeric GENERATED ALWAYS AS (credit * 2) STORED NOT NULL,"
         " ADD CHECK (email LIKE '%@%')", None),
        ("ALTER TABLE users ADD CHECK (full_name IS NOT NULL)", "full_name_check"),
        ("CREATE RULE soft AS ON DELETE TO users DO INSTEAD"
         " UPDATE users SET full_name = 'gone' WHERE id = old.id", "a deleted user who stays"),
        (ON_DELETE.format("RETURN NULL"), "a deleted user who stays"),
        (ON_DELETE.format("PERFORM pg_sleep(60); RETURN OLD"), "no end after 10 s"),
    ],
    ids=["columns", "refused", "rule", "trigger", "endless"],
)  # fmt: skip
def test_users_of_which_only_the_application_knows(migrated, of_the_application, said):
    """Their columns are filled in; that the trial is refused is a warning."""
    migrated.execute(of_the_application)
    warnings = [r for r in found(migrated)["behaviour"] if r["status"] != "pass"]
    assert statuses(warnings) == ["warn"] * bool(said)
    assert all(w["found"].startswith(USERS) and said in w["found"] for w in warnings)


def test_a_role_that_may_only_read_is_told_what_was_not_tried(migrated):
    migrated.superuser(
        "CREATE ROLE reader LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader;"
        f"REVOKE TEMP ON DATABASE {migrated.name} FROM PUBLIC"
    )
    try:
        checks = found(Database(migrated.server, migrated.name, "reader"))
        assert statuses(checks["behaviour"] + checks["query plan"]) == ["warn", "warn"]
        assert "permission denied" in checks["behaviour"][0]["found"]
    finally:
        migrated.superuser("DROP OWNED BY reader; DROP ROLE reader")


def test_broken_behaviour_is_found_by_behaviour_and_a_missing_index_by_the_plan(migrated):
    migrated.execute(
        "ALTER TABLE property_translations DROP CONSTRAINT valid_locale;"
        "ALTER TABLE properties DISABLE TRIGGER update_properties_updated_at;"
        "ALTER TABLE properties DROP CONSTRAINT properties_updated_by_fkey;"
        "ALTER TABLE amenity_translations DROP CONSTRAINT amenity_translations_amenity_id_fkey;"
        "DROP INDEX idx_properties_transaction_price"
    )
    checks = found(migrated)
    failed = [r["found"] for r in checks["behaviour"] if r["status"] == "fail"]
    assert [f.split(":")[0] for f in failed] == [
        "amenity_translations", "properties", "property_translations", USERS,
        "translations go with their amenity", "updated_at moves on every table",
    ]  # fmt: skip
    (row,) = checks["query plan"]
    assert row["status"] == "fail"
    assert row["found"].startswith("the listing by price reads ")


def test_an_unmigrated_database_is_one_line_with_the_way_out(unmigrated):
    done = unmigrated.validation("validate")
    way_out = f"not applied: python -m operations migrate -d '{unmigrated.url}'"
    assert (done.returncode, done.stderr) == (1, "")
    line, summary = done.stdout.splitlines()
    assert line.endswith(f"  {way_out}") and summary == "1 of 1 checks failed."
    unmigrated.superuser("CREATE TABLE policies (id integer)")
    assert statuses(unmigrated.look("validate")[1]).count("fail") > 100  # partly there is compared
