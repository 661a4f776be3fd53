"""Measures apply, rollback, queries, export and import on a server and sample data of its own.

Prints its progress, and writes docs/benchmark.md and its picture.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from common.database import Unusable
from local_postgres.server import VERSIONS, Server
from tests.conftest import PROJECT, Database, clone

from .commands import apply_times, fail, query_times, say, sizes_by_name, timed, transfer_times
from .page import page
from .waits import all_waits, picture

PAGE = PROJECT / "docs" / "benchmark.md"
PICTURE = PAGE.with_suffix(".svg")
SIZES = (10_000, 100_000, 1_000_000)


def measure_all(n: int, server: Server, folder: Path) -> dict:
    """All that the page needs, by subject; for queries by number of properties."""
    result: dict = {"queries": {}}
    Database.forks = False
    server.start({"max_connections": "600"})
    server.bootstrap("unmigrated")
    with clone(server, "unmigrated", "migrated") as migrated:
        timed(lambda: migrated.yoyo("apply"))
        say("yoyo beside psql")
        result["times"] = apply_times(server)
        result["waits"] = all_waits(server)
    server.bootstrap("property_v2_benchmark")
    database = Database(server, "property_v2_benchmark")
    database.deadline = None  # a million listings take their time
    timed(lambda: database.yoyo("apply"))
    for size in [size for size in SIZES if size < n] + [n]:
        say(f"sample data: {size:,} properties")
        sample_data = ("-m", "operations", "sample-data", str(size), "-d", database.url)
        timed(lambda: database.run(sys.executable, *sample_data))
        say(f"reference queries on {size:,} properties")
        result["queries"][size] = query_times(database)
    result["sizes"] = sizes_by_name(database)
    say("export and import beside pg_dump and pg_restore")
    result["transfer"] = transfer_times(database, folder, rounds=3 if n <= 100_000 else 1)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmark", description=__doc__)
    parser.add_argument("n", metavar="N", type=int, help="properties at most, 1,000 or more")
    n = parser.parse_args().n
    if n < 1000:
        parser.error("N must be 1,000 or more: below, there is nothing to measure")
    folder = Path(tempfile.mkdtemp(prefix="benchmark-"))
    server = Server(VERSIONS[0], folder / "data")
    try:
        result = measure_all(n, server, folder)
    except Unusable as error:
        fail(str(error))
    finally:
        server.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)
    text = page(n, server.version, result)
    PAGE.write_text(text, encoding="utf-8")
    PICTURE.write_text(picture(result["waits"]), encoding="utf-8")
    print(f"\n{text}")
    say(f"written: {PAGE.relative_to(PROJECT)} and {PICTURE.relative_to(PROJECT)}")


if __name__ == "__main__":
    main()
