"""What `python -m validation monitor` shows is what happened."""

import re
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from .conftest import TABLES, Database, behind, clone, well
from .conftest import newest as server  # noqa: F401
from .conftest import server as each_server  # noqa: F401
from .test_indexes import INSERT, run
from .traffic import WRITE_USERS

SUBJECTS = {
    "database", "table_sizes", "index_use", "slow_statements", "cache_hits", "dead_rows",
    "long_transactions", "waiting_locks", "invalid_indexes", "translations", "kept_tables",
}  # fmt: skip
NOT_THERE = {"slow_statements": [{"unavailable":
    "pg_stat_statements is not in this database, and the server lacks the package with PostgreSQL's"
    " contrib modules. Add it to shared_preload_libraries, restart the server, and here: CREATE"
    " EXTENSION pg_stat_statements;"}]}  # fmt: skip


def watch(database: Database) -> dict[str, list[dict]]:
    """What it found, by subject; all of it is also shown to people, on lines that fit."""
    code, found = database.look("monitor")
    assert (code, found.keys()) == (0, SUBJECTS)
    shown = database.validation("monitor").stdout
    assert max(map(len, shown.splitlines())) <= 100, shown
    words = "".join(shown.split())
    for name, value in ((n, v) for row in sum(found.values(), []) for n, v in row.items()):
        if isinstance(value, str) and not re.search(r"\d:\d\d", value):
            assert "".join(value.split()) in words or len(value) > 20, (name, value, shown)
    return found


def by(column: str, rows: list[dict]) -> dict[str, dict]:
    return {row[column]: row for row in rows}


def test_sizes_translations_index_use_and_dead_rows(each_server):
    with clone(each_server, "migrated") as migrated:
        migrated.superuser("SELECT pg_stat_reset()")
        migrated.execute("ALTER TABLE properties SET (autovacuum_enabled = off)")
        migrated.execute(INSERT.format(200))
        some = "WHERE id IN (SELECT id FROM properties LIMIT {})"
        migrated.execute("UPDATE properties SET title = 'New' " + some.format(5))
        migrated.execute("DELETE FROM properties " + some.format(7))
        migrated.execute(
            "INSERT INTO property_translations (property_id, locale, field, value)"
            " SELECT id, locale, field, 'x' FROM properties, (VALUES ('th', 'title'),"
            " ('th', 'description'), ('en', 'title')) AS v (locale, field);"
            "INSERT INTO amenities (id, category) VALUES ('wifi', 'interior'); INSERT INTO"
            " amenity_translations (amenity_id, locale, name) VALUES ('wifi', 'th', 'ไวไฟ');"
            "SET enable_seqscan = off; SELECT FROM properties WHERE tags @> ARRAY['gym']"
        )
        migrated.wait_for(
            "SELECT 1 FROM pg_stat_user_indexes AS i JOIN pg_stat_user_tables AS t USING (relid)"
            " WHERE indexrelname = 'idx_properties_tags' AND i.idx_scan > 0 AND n_dead_tup = 12",
            "the statistics have it all",
        )

        found = watch(migrated)
        assert {s: found[s] for s in found if "unavailable" in str(found[s])} == NOT_THERE
        for row in found["table_sizes"]:
            parts = row["rows_bytes"] + (row["toast_bytes"] or 0) + row["indexes_bytes"]
            assert parts == row["total_bytes"] > 0, row
        assert by("table_name", found["table_sizes"]).keys() == set(TABLES)
        assert found["table_sizes"][0]["table_name"] == "properties"

        th = {"locale": "th", "of_properties": 2 * 193, "of_amenities": 1, "of_policies": 0}
        en = {"locale": "en", "of_properties": 193, "of_amenities": 0, "of_policies": 0}
        assert found["translations"] == [en, th]

        since = found["database"][0]["counted_since"]
        assert since[:2] == "20"
        use = by("index_name", found["index_use"])
        assert len(use) == 23
        assert use["idx_properties_tags"]["verdict"].startswith(f"used, last at {since[:4]}")
        assert use["idx_properties_tags"]["scans"] == 1
        assert use["idx_properties_policies"]["verdict"] == f"unused since {since}"
        assert use["policy_translations_pkey"]["verdict"] == "unused, but keeps rows unique"

        dead = by("table_name", found["dead_rows"])["properties"]
        assert (dead["live_rows"], dead["dead_rows"]) == (193, 12)
        assert dead["dead_percent"] == 5.9
        assert dead["last_vacuum_by_hand"] is None

        parts = migrated.validation("monitor").stdout.split("\n\n")
        sizes, dead = (next(p for p in parts if p.startswith(t)) for t in ("Table s", "Dead rows"))
        assert " kB" in sizes and re.search(r"(?m)^  properties +193 +12 ", dead), parts


def test_who_waits_for_whom_and_whose_transaction_is_open(migrated):
    migrated.execute("INSERT INTO users (id, email) VALUES (2, 'two'), (3, 'three')")
    with migrated.connect(application_name="login") as waiter, ThreadPoolExecutor() as executor:
        waiting = f"pid {waiter.info.backend_pid}"
        with migrated.holding(WRITE_USERS) as blocker:
            update = executor.submit(waiter.execute, WRITE_USERS)
            migrated.wait_for_session(behind(blocker), "login waits for the nightly report")
            migrated.execute(
                "BEGIN; DELETE FROM users WHERE id = 3; PREPARE TRANSACTION 'payment 42'"
            )
            found = watch(migrated)
            migrated.execute("ROLLBACK PREPARED 'payment 42'")
        update.result(30)
    [wait] = found["waiting_locks"]
    assert (wait["waiting"], wait["blocked_by"]) == (waiting, f"pid {blocker}")
    assert (wait["waiting_statement"], wait["wants"]) == (WRITE_USERS, "ShareLock on transactionid")
    assert wait["blocking_application"] == "nightly report"
    assert wait["blocking_state"] == "idle in transaction"
    oldest, second, last = found["long_transactions"]
    whose = {"transaction_of": f"pid {blocker}", "application_name": "nightly report"}
    assert oldest.items() > whose.items() and oldest["open_seconds"] >= 0
    assert second["transaction_of"] == waiting
    assert (last["transaction_of"], last["state_now"]) == ("'payment 42'", "prepared")


def test_invalid_indexes_are_named_with_what_to_do(migrated):
    migrated.execute(INSERT.format(2))
    with pytest.raises(psycopg.errors.UniqueViolation):
        migrated.execute("CREATE UNIQUE INDEX CONCURRENTLY unique_title ON properties (title)")
    migrated.superuser(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_properties_tags'::regclass"
    )
    found = by("index_name", watch(migrated)["invalid_indexes"])
    assert found.keys() == {"idx_properties_tags", "unique_title"}
    advice = found["idx_properties_tags"]["what_to_do"]
    assert advice == "psql -X -f operations/create_indexes.sql"
    well(run(migrated, "create_indexes.sql"))
    migrated.execute(found["unique_title"]["what_to_do"])
    assert migrated.look("monitor")[1]["invalid_indexes"] == []


def test_slow_statements_or_how_to_get_them(migrated):
    # The server has no contrib modules: a view of that name and these columns stands in.
    migrated.superuser(
        "CREATE SCHEMA extensions; GRANT USAGE ON SCHEMA extensions TO PUBLIC;"
        "CREATE VIEW extensions.pg_stat_statements AS SELECT oid AS dbid, s.*"
        " FROM pg_database, (VALUES"
        " ('SELECT 1', 10::bigint, 20.2::float, 2.02::float, 10::bigint),"
        " (E'UPDATE users\\n  SET x', 1, 300.7, 300.7, 5))"
        " AS s (query, calls, total_exec_time, mean_exec_time, rows)"
        " WHERE datname IN ('postgres', current_database());"
        "GRANT SELECT ON extensions.pg_stat_statements TO PUBLIC"
    )
    assert watch(migrated)["slow_statements"] == [
        {"calls": 1, "rows_in_all": 5, "total_ms": 301, "mean_ms": 300.7,
         "statement": "UPDATE users SET x"},
        {"calls": 10, "rows_in_all": 10, "total_ms": 20, "mean_ms": 2.0, "statement": "SELECT 1"},
    ]  # fmt: skip


def test_without_the_tables_it_says_so(unmigrated):
    found = watch(unmigrated)
    assert by("table_name", found["table_sizes"]).keys() == set(TABLES)
    assert {row["found"] for row in found["table_sizes"]} == {"missing"}
    [row] = found["translations"]
    assert row["unavailable"] == 'relation "public.property_translations" does not exist'
