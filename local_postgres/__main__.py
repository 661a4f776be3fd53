"""python -m local_postgres start [16|18] | stop | psql [arguments] | sample-data N"""

from __future__ import annotations

import argparse
import os
import sys

from operations.target import Target
from validation.database import Unusable
from validation.report import exit_code

from .server import HERE, VERSIONS, Server, running


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m local_postgres", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("start", help="start the server; harmless when it runs")
    start.add_argument("version", nargs="?", type=int, choices=VERSIONS, default=VERSIONS[0])
    start.set_defaults(run=_start)
    stop = commands.add_parser("stop", help="stop the server; harmless when it does not run")
    stop.set_defaults(run=_stop)
    psql = commands.add_parser("psql", help="open the local database in the bundled psql")
    psql.set_defaults(run=_psql)
    sample = commands.add_parser("sample-data", help="replace the rows of the six tables")
    sample.add_argument("properties", metavar="N", type=_positive, help="how many properties")
    sample.add_argument("--seed", type=int, default=1, help="the same seed gives the same rows")
    sample.add_argument(
        "--embeddings", action="store_true", help="with an embedding for every tenth property"
    )
    sample.add_argument("-d", "--database", metavar="URL", help="default: that of yoyo.ini")
    sample.set_defaults(run=_sample_data)
    arguments, rest = parser.parse_known_args()
    if rest and arguments.command != "psql":
        parser.error(f"unknown: {' '.join(rest)}")
    arguments.rest = rest
    return exit_code(lambda: arguments.run(arguments), "Rows are all as before, or all loaded.")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number of properties, 1 or more")
    return int(text)


def _start(arguments) -> None:
    server = Server(arguments.version)
    server.start()
    server.bootstrap()
    print(f"PostgreSQL {server.version} runs in {os.path.relpath(server.cluster)}")


def _stop(arguments) -> None:
    server = running()
    if server:
        server.stop()
    print(f"PostgreSQL {server.version} stopped" if server else "No server is running")


def _psql(arguments) -> None:
    server = running()
    if not server:
        raise Unusable("The local server is stopped; start it with: make migrate")
    program = server.program("psql")
    connection = ["-h", str(server.socket_folder), "-U", "bestays", "-d", "bestays"]
    os.execv(program, [program, *connection, *arguments.rest])


def _sample_data(arguments) -> None:
    target = Target(arguments.database)
    loaded = target.run(
        "Sample data", target.program("psql"), "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1",
        "-v", f"n={arguments.properties}", "-v", f"seed={arguments.seed}",
        "-v", f"embeddings={arguments.embeddings}", "-f", HERE / "sample_data.sql",
    )  # fmt: skip
    print(loaded, end="")


if __name__ == "__main__":
    sys.exit(main())
