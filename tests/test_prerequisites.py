"""What is missing is said in one sentence, and `yoyo apply` alone leaves nothing behind."""

from __future__ import annotations

import json
import sys

import pytest

from .conftest import Database
from .conftest import newest as server  # noqa: F401

# What the superuser does to the database, and what check then says and advises.
BREACHES = {
    "no vector": (
        "DROP EXTENSION vector",
        "extension vector", "available, but not created", "CREATE EXTENSION vector",
    ),
    "no users": (
        "DROP TABLE users",
        "table users", "there is no table users", "earlier migrations",
    ),
    "users with a bigint key": (
        "ALTER TABLE users ALTER COLUMN id TYPE bigint",
        "table users", "id is bigint", "right database",
    ),
    "users without a unique key": (
        "ALTER TABLE users DROP CONSTRAINT users_pkey",
        "table users", "id is not unique", "ADD PRIMARY KEY (id)",
    ),
    "a table properties": (
        "CREATE TABLE properties (id integer)",
        "names", "table properties of postgres is in the way", "Rename it",
    ),
    "an index of that name": (
        "CREATE INDEX idx_properties_tags ON users (email)",
        "names", "index idx_properties_tags of bestays is in the way", "Rename it",
    ),
    "a view of that name": (
        "CREATE VIEW policies AS SELECT 1",
        "names", "view policies of postgres is in the way", "Rename it",
    ),
    "a sequence of that name": (
        "CREATE SEQUENCE property_translations_id_seq",
        "names", "sequence property_translations_id_seq of postgres", "Rename it",
    ),
    "a type of that name": (
        "CREATE TYPE amenities AS ENUM ('wifi')",
        "names", "type amenities of postgres is in the way", "Rename it",
    ),
    "no CREATE on the schema": (
        "ALTER SCHEMA public OWNER TO postgres; REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        "may create tables", "bestays lacks CREATE on schema public", "GRANT CREATE ON SCHEMA",
    ),
    "no REFERENCES on users": (
        "ALTER TABLE users OWNER TO postgres; GRANT SELECT ON users TO bestays",
        "may refer to users", "bestays lacks REFERENCES on users", "GRANT REFERENCES ON users",
    ),
    "another current schema": (
        "CREATE SCHEMA bestays AUTHORIZATION bestays",
        "current schema", "bestays", "SET search_path = public",
    ),
    "a different function": (
        "CREATE FUNCTION update_updated_at_column() RETURNS trigger LANGUAGE plpgsql"
        " AS 'BEGIN RETURN NULL; END'",
        "trigger function", "another update_updated_at_column() is there, of postgres", "rename",
    ),
}  # fmt: skip
# PostgreSQL finds another name for a sequence that is taken: the check is stricter than apply.
APPLY_SUCCEEDS = {"a sequence of that name", "users with a bigint key"}


def failures(database: Database) -> list[dict]:
    done = database.validation("check", "--format", "json")
    assert done.returncode == 1, done.stderr
    return [r for r in json.loads(done.stdout)["results"] if r["status"] == "fail"]


@pytest.mark.parametrize("breach", BREACHES)
def test_breach(unmigrated, breach):
    sql, check, found, what_to_do = BREACHES[breach]
    unmigrated.superuser(sql)
    before = unmigrated.dump()
    (failure,) = failures(unmigrated)
    assert failure["check"] == check
    assert found in failure["found"]
    assert what_to_do in failure["what_to_do"]
    done = unmigrated.yoyo("apply")
    if breach not in APPLY_SUCCEEDS:
        assert done.returncode != 0
        assert unmigrated.dump() == before


def test_encoding(server):
    Database(server, "postgres").superuser(
        "CREATE DATABASE latin OWNER bestays TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'"
    )
    try:
        results = failures(Database(server, "latin"))
        assert ("encoding", "LATIN1") in {(r["check"], r["found"]) for r in results}
    finally:
        Database(server, "postgres").superuser("DROP DATABASE latin")


@pytest.mark.parametrize(
    "command", [("check",), ("validate",), ("state",), ("state", "--format", "json")]
)
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
    ],
)
def test_no_connection_is_one_sentence_and_exit_2(password_server, command, url, said):
    url = url.format(host=password_server.socket_folder)
    database = Database(password_server, "postgres")
    done = database.run(sys.executable, "-m", "validation", *command, "-d", url)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert not done.stdout
    for secret in ("wrong", "secret"):
        assert secret not in done.stderr.replace("authentication failed", "")


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


def test_an_unknown_service_is_one_sentence(unmigrated):
    done = unmigrated.run(
        sys.executable, "-m", "validation", "state", "-d", "postgresql://", PGSERVICE="nowhere"
    )
    assert done.returncode == 2
    assert 'definition of service "nowhere" not found' in done.stderr
