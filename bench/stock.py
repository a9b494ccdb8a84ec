"""Serve durabletask's stock in-memory backend: `python -m bench.stock PORT`, until standard input ends."""

import sys

from durabletask.testing import create_test_backend


def main(port: int) -> None:
    backend = create_test_backend(port=port)
    print(f"stock backend at 127.0.0.1:{port}", flush=True)
    sys.stdin.read()
    backend.stop()


if __name__ == "__main__":
    main(int(sys.argv[1]))
