"""`python -m aos.local.servicebus --config FILE --port N [--db PATH]`: the broker in a process of its own."""

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence

from aos.local.servicebus.broker import Broker
from aos.local.servicebus.errors import DatabaseError
from aos.local.servicebus.topology import Topology, TopologyError

_EXIT_UNUSABLE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM; 2 and one line on stderr if that cannot start."""
    parser = argparse.ArgumentParser(
        prog="python -m aos.local.servicebus",
        description="A broker that the Azure Service Bus SDKs talk to, over AMQP 1.0.",
    )
    parser.add_argument("--config", required=True, help="topology, in the JSON format of the emulator")
    parser.add_argument("--port", type=int, default=5672, help="port to listen on (0 takes a free one)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--db", help="SQLite file that messages are kept in (default: in memory)")
    options = parser.parse_args(arguments)
    try:
        topology = Topology.load(options.config)
        asyncio.run(_serve(topology, options))
    except (TopologyError, DatabaseError) as error:
        return _complain(str(error))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        return _complain(f"cannot listen on {options.host}:{options.port}: {reason}")
    return 0


async def _serve(topology: Topology, options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    broker = await Broker.open(options.db, topology)
    try:
        await broker.serve(options.host, options.port)
        print(broker.connection_string, flush=True)
        await stop.wait()
    finally:
        await broker.close()


def _complain(message: str) -> int:
    print(f"servicebus: {message}", file=sys.stderr)
    return _EXIT_UNUSABLE


if __name__ == "__main__":
    sys.exit(main())
