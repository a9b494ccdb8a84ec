"""`python -m aos.local.host --app DIR --data DIR --port N`."""

import argparse
import sys
from pathlib import Path

from aos.local.host.options import HostOptions
from aos.local.host.run import run_host


def main() -> int:
    """Run the host until it is told to stop; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m aos.local.host", description="Run a Functions app.")
    parser.add_argument("--app", type=Path, default=Path(), help="the app's folder")
    parser.add_argument("--data", type=Path, default=Path(".aos"), help="where state is kept")
    parser.add_argument("--port", type=int, default=7071)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--topology", type=Path, help="a Service Bus emulator configuration")
    parser.add_argument("--grace", type=float, default=10.0, metavar="SECONDS")
    parser.add_argument("--verbose", action="store_true", help="tracebacks and the libraries' logs")
    chosen = parser.parse_args()
    return run_host(
        HostOptions(
            app=chosen.app,
            data=chosen.data,
            port=chosen.port,
            host=chosen.host,
            topology=chosen.topology,
            verbose=chosen.verbose,
            grace_s=chosen.grace,
        )
    )


if __name__ == "__main__":
    sys.exit(main())
