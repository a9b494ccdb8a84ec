"""`python -m aos.local.host --app DIR --data DIR --port N`."""

import argparse
import sys
from pathlib import Path

from aos.local.host.options import HostOptions
from aos.local.host.run import run_host
from aos.local.host.settings import MOST_WORKERS


def main() -> int:
    """Run the host until it is told to stop; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m aos.local.host", description="Run a Functions app.")
    parser.add_argument("--app", type=Path, default=Path(), help="the app's folder")
    parser.add_argument("--data", type=Path, default=Path(".aos"), help="where state is kept")
    parser.add_argument("--port", type=int, help="default: what local.settings.json says, else 7071")
    parser.add_argument("--host", help="default: what local.settings.json says, else 127.0.0.1")
    parser.add_argument("--topology", type=Path, help="a Service Bus emulator configuration")
    parser.add_argument("--grace", type=float, default=10.0, metavar="SECONDS")
    parser.add_argument("--workers", type=_workers, metavar="N", help="worker processes, 1 to 10")
    parser.add_argument("--reload", action="store_true", help="load the app again whenever it was edited")
    parser.add_argument("--enable-auth", action="store_true", help="ask callers for keys, as Azure does")
    parser.add_argument("--python", type=Path, metavar="FILE", help="of the app's own environment")
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
            workers=chosen.workers,
            reload=chosen.reload,
            enable_auth=chosen.enable_auth,
            python=chosen.python,
        )
    )


def _workers(text: str) -> int:
    if text not in map(str, range(1, MOST_WORKERS + 1)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {MOST_WORKERS}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
