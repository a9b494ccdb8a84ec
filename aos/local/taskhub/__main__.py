"""Serve a task hub alone: `python -m aos.local.taskhub --db PATH --port N`."""

import argparse
import asyncio
import signal
import sys
from datetime import timedelta
from pathlib import Path

import uvloop

from aos.local.taskhub import HubError, TaskHub, serve

_GRACE_S = 2.0
_UNITS = {"d": "days", "h": "hours", "m": "minutes"}


async def _run(path: Path, host: str, port: int, retention: timedelta | None) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    hub = await TaskHub.open(path, retention=retention)
    try:
        server = await serve(hub, host=host, port=port)
        print(f"task hub {path} at {host}:{server.port}", flush=True)
        await stopped.wait()
        await server.stop(_GRACE_S)
    finally:
        await hub.close()


def _age(text: str) -> timedelta:
    number, unit = text[:-1], _UNITS.get(text[-1:])
    if unit is None or not number.isdecimal() or not int(number):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no age: a whole number above 0 and d, h or m, as in 30d"
        )
    try:
        return timedelta(**{unit: int(number)})
    except OverflowError:
        raise argparse.ArgumentTypeError(f"{text!r} is longer than there has been time") from None


def main() -> int:
    """Serve until SIGINT or SIGTERM; exit code 2 if it cannot be served."""
    parser = argparse.ArgumentParser(
        prog="python -m aos.local.taskhub", description="A durable task hub on SQLite."
    )
    parser.add_argument("--db", type=Path, required=True, help="the database file, created if there is none")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    parser.add_argument("--port", type=int, default=0, help="the port to listen on; 0 takes a free one")
    parser.add_argument(
        "--retention",
        type=_age,
        metavar="AGE",
        help="purge instances that ended longer ago than this, as in 30d, 12h, 45m; without it all are kept",
    )
    options = parser.parse_args()
    try:
        uvloop.run(_run(options.db, options.host, options.port, options.retention))
    except HubError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
