"""`python -m aos.local.servicebus --config FILE [--port N] [--db PATH] [--tls FOLDER] [--key KEY]`."""

import argparse
import asyncio
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from aos.local.servicebus.broker import EMULATOR_KEY, Broker
from aos.local.servicebus.certificate import server_context
from aos.local.servicebus.errors import CertificateError, DatabaseError
from aos.local.servicebus.topology import Topology, TopologyError

_EXIT_UNUSABLE = 2
_PORT, _TLS_PORT = 5672, 5671


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM; 2 and one line on stderr if that cannot start."""
    parser = argparse.ArgumentParser(
        prog="python -m aos.local.servicebus",
        description="A broker that the Azure Service Bus SDKs talk to, over AMQP 1.0.",
    )
    parser.add_argument("--config", required=True, help="topology, in the JSON format of the emulator")
    parser.add_argument("--port", type=int, help="port to listen on (0 takes a free one)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--db", help="SQLite file that messages are kept in (default: in memory)")
    parser.add_argument(
        "--tls", metavar="FOLDER", type=Path, help="serve TLS, with FOLDER/cert.pem (made if it is not there)"
    )
    parser.add_argument("--key", type=_key, default=EMULATOR_KEY, help="shared access key")
    options = parser.parse_args(arguments)
    if options.port is None:
        options.port = _PORT if options.tls is None else _TLS_PORT
    try:
        topology = Topology.load(options.config)
        asyncio.run(_serve(topology, options))
    except (TopologyError, DatabaseError, CertificateError) as error:
        return _complain(str(error))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        return _complain(f"cannot listen on {options.host}:{options.port}: {reason}")
    return 0


async def _serve(topology: Topology, options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    tls = None if options.tls is None else server_context(options.tls, options.host)
    broker = await Broker.open(options.db, topology, key=options.key)
    try:
        await broker.serve(options.host, options.port, tls)
        print(broker.connection_string, flush=True)
        await stop.wait()
    finally:
        await broker.close()


def _key(text: str) -> str:
    if not re.fullmatch(r"[!-:<-~]+", text):
        raise argparse.ArgumentTypeError("a key has printable ASCII characters, and no space or semicolon")
    return text


def _complain(message: str) -> int:
    print(f"servicebus: {message}", file=sys.stderr)
    return _EXIT_UNUSABLE


if __name__ == "__main__":
    sys.exit(main())
