"""python -m local_postgres start [16|18] | stop | psql [arguments] | sample-data N"""

from __future__ import annotations

import argparse
import os
import sys

import psycopg2

from validation.database import Unusable

from . import sample_data
from .server import VERSIONS, Server, ServerError, running


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m local_postgres", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("start", help="start the server; harmless when it runs")
    start.add_argument("version", nargs="?", type=int, choices=VERSIONS, default=VERSIONS[0])
    commands.add_parser("stop", help="stop the server; harmless when it does not run")
    commands.add_parser("psql", help="open the local database in the bundled psql")
    sample = commands.add_parser("sample-data", help="replace the rows of the six tables")
    sample.add_argument("properties", metavar="N", type=_positive, help="how many properties")
    sample.add_argument("--seed", type=int, default=1, help="the same seed gives the same rows")
    sample.add_argument(
        "--embeddings", action="store_true", help="with an embedding for every tenth property"
    )
    sample.add_argument("-d", "--database", metavar="URL", help="default: that of yoyo.ini")
    arguments, rest = parser.parse_known_args()
    if rest and arguments.command != "psql":
        parser.error(f"unknown: {' '.join(rest)}")
    try:
        if arguments.command == "start":
            server = Server(arguments.version)
            server.start()
            server.bootstrap()
            print(f"PostgreSQL {server.version} runs in {os.path.relpath(server.cluster)}")
        elif arguments.command == "stop":
            server = running()
            if server:
                server.stop()
            print(f"PostgreSQL {server.version} stopped" if server else "No server is running")
        elif arguments.command == "sample-data":
            sample_data.load(
                arguments.database, arguments.properties, arguments.seed, arguments.embeddings
            )
        else:
            server = running()
            if not server:
                raise ServerError("The local server is stopped; start it with: make migrate")
            program = server.program("psql")
            connection = ["-h", str(server.socket_folder), "-U", "bestays", "-d", "bestays"]
            os.execv(program, [program, *connection, *rest])
        return 0
    except (ServerError, Unusable) as error:
        print(error, file=sys.stderr)
    except psycopg2.Error as error:
        reason = ": ".join(filter(None, [error.diag.message_primary, error.diag.message_hint]))
        print(f"Nothing was changed: {reason or ' '.join(str(error).split())}.", file=sys.stderr)
    except KeyboardInterrupt:
        print("Interrupted: the rows are all as before, or all loaded.", file=sys.stderr)
    return 2


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number of properties, 1 or more")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
