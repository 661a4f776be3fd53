"""python -m local_postgres start [16|18] | stop | psql [arguments]"""

from __future__ import annotations

import argparse
import os
import sys

from common.database import Unusable
from common.report import exit_code

from .server import VERSIONS, Server, running


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
    arguments, rest = parser.parse_known_args()
    if rest and arguments.command != "psql":
        parser.error(f"unknown: {' '.join(rest)}")
    arguments.rest = rest
    return exit_code(lambda: arguments.run(arguments), lambda: "Rows are all as before.")


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


if __name__ == "__main__":
    sys.exit(main())
