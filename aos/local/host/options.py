"""What a person may choose when starting the host."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO


@dataclass(frozen=True, slots=True)
class HostOptions:
    """How to run one Functions app.

    `app` holds `function_app.py` and `host.json`; `data` is where state is kept (created when
    absent). Port 0 takes any free port. `topology` is a Service Bus emulator configuration.
    `env` is added to the worker's environment and wins over everything else. `grace_s` is how
    long running invocations may take to finish when the host is asked to stop. `log` is where lines go
    (standard error when `None`). `on_serving` is called, in a thread, once the app is served and
    before a line says so.
    """

    app: Path
    data: Path
    port: int = 7071
    host: str = "127.0.0.1"
    topology: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    verbose: bool = False
    grace_s: float = 10.0
    log: TextIO | None = None
    on_serving: Callable[[], None] | None = None
