"""The secondary indexes out and back, while others write and when it is interrupted."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable

import pytest

from .conftest import Database
from .conftest import newest as server  # noqa: F401
from .traffic import Traffic

SECONDARY = "SELECT count(*) FROM pg_class WHERE relkind = 'i' AND relname LIKE 'idx\\_%'"
INVALID = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid"
WAITING = """
SELECT pid FROM pg_stat_activity JOIN pg_locks USING (pid)
WHERE application_name = %s AND NOT granted AND clock_timestamp() - waitstart > %s
"""
INSERT = """
INSERT INTO properties (title, description, transaction_type, property_type, rent_price, tags)
SELECT 'Villa', 'x', 'rent', 'villa', 100, ARRAY['pool'] FROM generate_series(1, {})
"""
UPDATE = """
UPDATE properties SET tags = tags || 'new'::text
WHERE id = (SELECT id FROM properties ORDER BY id LIMIT 1)
"""


def command(database: Database, file: str) -> tuple[str, ...]:
    return (
        database.server.program("psql"), "-X", "-h", database.host, "-U", database.user,
        "-f", f"operations/{file}", database.name,
    )  # fmt: skip


def run(database: Database, file: str) -> subprocess.CompletedProcess:
    return database.run(*command(database, file))


def until(condition: Callable[[], object], what: str) -> object:
    """Waits for something to be true, and returns it."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if result := condition():
            return result
        time.sleep(0.02)
    raise AssertionError(f"waited in vain: {what}")


def until_it_waits(database: Database, file: str, how_long: str = "100 ms") -> int:
    """The process id of a script once it has waited for others."""
    waiting = until(lambda: database.execute(WAITING, [file, how_long]), f"{file} waits")
    return waiting[0][0]


def test_out_and_back_is_the_same_schema_and_writers_go_on(migrated):
    migrated.execute(INSERT.format(2000))
    before, count = migrated.dump("--schema-only"), migrated.value(SECONDARY)
    for file, indexes in (("drop_indexes.sql", 0), ("create_indexes.sql", count)):
        with (
            migrated.connect() as writer,
            Traffic(migrated, UPDATE) as updates,
            Traffic(migrated, INSERT.format(1)) as inserts,
        ):
            with writer.transaction():
                writer.execute("LOCK TABLE properties IN ROW EXCLUSIVE MODE")  # as an INSERT does
                script = migrated.start(*command(migrated, file))
                until_it_waits(migrated, file)
                for traffic in (updates, inserts):
                    done = traffic.executed
                    until(
                        lambda: traffic.executed > done + 10 or traffic.errors,
                        f"others write while {file} waits",
                    )
                progress = run(migrated, "progress.sql").stdout
                who = f"waits for session {writer.info.backend_pid}"
                assert file.startswith("drop") or who in progress, progress
                assert script.poll() is None, script.communicate()
            output, message = script.communicate(timeout=60)
            assert script.returncode == 0, message
            statements = re.findall("(?m)^(?:CREATE|DROP) INDEX .*", output)
            assert len(statements) == count
            assert all(" INDEX CONCURRENTLY IF " in statement for statement in statements)
        assert not updates.errors + inserts.errors
        assert migrated.value(SECONDARY) == indexes
        schema = migrated.dump("--schema-only")
        again = run(migrated, file)
        assert (again.returncode, migrated.dump("--schema-only")) == (0, schema), again.stderr
        assert again.stderr.count("skipping") == count
    assert schema == before
    after = migrated.validation("validate")
    assert after.returncode == 0, after.stdout


@pytest.mark.parametrize("file", ["drop_indexes.sql", "create_indexes.sql"])
def test_an_interrupted_run_leaves_an_invalid_index_that_the_next_one_mends(migrated, file):
    before = migrated.dump("--schema-only")
    if file == "create_indexes.sql":
        assert run(migrated, "drop_indexes.sql").returncode == 0
    with migrated.connect() as writer, writer.transaction():
        writer.execute("LOCK TABLE properties IN ROW EXCLUSIVE MODE")
        # The limits of a careful role: the script must not stumble over them.
        limits = "-c lock_timeout=400ms -c statement_timeout=400ms"
        script = migrated.start(*command(migrated, file), PGOPTIONS=limits)
        pid = until_it_waits(migrated, file, "500 ms")
        second = run(migrated, "create_indexes.sql")
        assert second.returncode == 3
        assert "another run of drop_indexes.sql or create_indexes.sql is" in second.stderr
        migrated.execute("SELECT pg_terminate_backend(%s)", [pid])
        _, message = script.communicate(timeout=30)
        assert script.returncode == 2, message
    [(left,)] = migrated.execute(INVALID)
    checked = migrated.validation("validate")
    assert checked.returncode == 1
    assert f"{left}: expected" in checked.stdout
    assert "(invalid)" in checked.stdout

    mended = run(migrated, "create_indexes.sql")
    assert mended.returncode == 0, mended.stderr
    assert f"DROP INDEX CONCURRENTLY {left}" in mended.stdout
    assert migrated.execute(INVALID) == []
    assert migrated.dump("--schema-only") == before
    assert migrated.validation("validate").returncode == 0


def test_an_interrupted_drop_goes_on_where_it_stopped(migrated):
    with migrated.connect() as reader, reader.transaction():
        reader.execute("SELECT FROM policies")
        script = migrated.start(*command(migrated, "drop_indexes.sql"))
        migrated.execute(
            "SELECT pg_terminate_backend(%s)", [until_it_waits(migrated, "drop_indexes.sql")]
        )
        script.communicate(timeout=30)
    assert migrated.execute(INVALID) == [("idx_policies_category",)]
    assert run(migrated, "drop_indexes.sql").returncode == 0
    assert migrated.value(SECONDARY) == 0
