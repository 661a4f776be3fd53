"""The secondary indexes out and back, while others write and when it is interrupted."""

import re

import pytest

from .conftest import Database, Done, Process, behind, ended, well
from .conftest import newest as server  # noqa: F401
from .traffic import Traffic

DROP, CREATE = "drop_indexes.sql", "create_indexes.sql"
SECONDARY = "SELECT count(*) FROM pg_class WHERE relkind = 'i' AND relname LIKE 'idx\\_%'"
INVALID = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid"
WRITE = "LOCK TABLE properties IN ROW EXCLUSIVE MODE"  # as an INSERT does
INSERT = """
INSERT INTO properties (title, description, transaction_type, property_type, rent_price, tags)
SELECT 'Villa', 'x', 'rent', 'villa', 100, ARRAY['pool'] FROM generate_series(1, {})
"""
UPDATE = """
UPDATE properties SET tags = tags || 'new'::text
WHERE id = (SELECT id FROM properties ORDER BY id LIMIT 1)
"""


def run(database: Database, file: str) -> Done:
    return database.psql("-f", f"operations/{file}")


def start(database: Database, file: str, holder: int, **environment: str) -> tuple[Process, int]:
    """A script, once it has waited for that session a while, and the process id of its session."""
    script = database.start(*database.psql_command("-f", f"operations/{file}"), **environment)
    waits = f"{behind(holder)} AND query_start < clock_timestamp() - interval '500 ms'"
    return script, database.wait_for_session(waits, f"{file} waits", script)


def test_out_and_back_is_the_same_schema_and_writers_go_on(migrated):
    migrated.execute(INSERT.format(2000))
    before, count = migrated.dump("--schema-only"), migrated.value(SECONDARY)
    for file, indexes in ((DROP, 0), (CREATE, count)):
        with Traffic(migrated, UPDATE) as updates, Traffic(migrated, INSERT.format(1)) as inserts:
            with migrated.holding(WRITE) as writer:
                script, _ = start(migrated, file, writer)
                updates.three_more()
                inserts.three_more()
                progress = run(migrated, "progress.sql").stdout
                assert file == DROP or f"waits for session {writer}" in progress, progress
                assert script.poll() is None, ended(script)
            done = ended(script)
            well(done)
            statements = re.findall("(?m)^(?:CREATE|DROP) INDEX .*", done.stdout)
            assert len(statements) == count
            assert all(" INDEX CONCURRENTLY IF " in statement for statement in statements)
            assert '"idx_' not in done.stdout  # the list that they read
        assert migrated.value(SECONDARY) == indexes
        again = run(migrated, file)
        well(again)
        assert again.stderr.count("skipping") == count
        assert migrated.value(SECONDARY) == indexes
    assert migrated.dump("--schema-only") == before


@pytest.mark.parametrize(("file", "following"), [(DROP, CREATE), (CREATE, CREATE), (DROP, DROP)])
def test_an_interrupted_run_leaves_an_invalid_index_that_the_next_one_mends(
    migrated, file, following
):
    before = migrated.dump("--schema-only")
    if file == CREATE:
        well(run(migrated, DROP))
    with migrated.holding(WRITE) as writer:
        # The limits of a careful role: the script must not stumble over them.
        limits = "-c lock_timeout=400ms -c statement_timeout=400ms"
        script, pid = start(migrated, file, writer, PGOPTIONS=limits)
        second = run(migrated, CREATE)
        assert second.returncode == 3
        assert "another run of drop_indexes.sql or create_indexes.sql is" in second.stderr
        migrated.terminate(f"pid = {pid}")
        assert ended(script).returncode == 2
    [(left,)] = migrated.execute(INVALID)
    done = run(migrated, following)
    well(done)
    assert re.search(rf"(?m)^DROP INDEX CONCURRENTLY (IF EXISTS )?{left}$", done.stdout)
    assert migrated.execute(INVALID) == []
    if following == CREATE:
        assert migrated.dump("--schema-only") == before
    else:
        assert migrated.value(SECONDARY) == 0
