"""python -m local_postgres start [16|18] | stop"""

import argparse
import os
import sys

from common.report import exit_code

from .server import VERSIONS, Server


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m local_postgres", description=__doc__)
    parser.add_argument("command", choices=("start", "stop"), help="harmless when it is done")
    parser.add_argument("version", nargs="?", type=int, choices=VERSIONS)
    arguments = parser.parse_args()
    server = Server(arguments.version)
    if arguments.command == "start":
        server.start()
        server.bootstrap()
        print(f"PostgreSQL {server.version} runs in {os.path.relpath(server.cluster)}")
    elif server.socket_folder:
        server.stop()
        print(f"PostgreSQL {server.version} stopped")
    else:
        print("No server is running")


if __name__ == "__main__":
    sys.exit(exit_code(main, lambda: "Rows are all as before."))
