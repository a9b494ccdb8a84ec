"""The local host with failpoints: `python failing_host.py --app DIR --data DIR --port N`."""

import sys

import failpoints

from aos.local.host.__main__ import main

if __name__ == "__main__":
    failpoints.install(failpoints.HOST)
    sys.exit(main())
