"""What a person may choose when starting the host."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO


@dataclass(frozen=True, slots=True)
class HostOptions:
    """How to run one Functions app.

    `app` holds `function_app.py` and `host.json`; `data` is where state is kept (created when absent).
    `host` and `port` are where to listen (`None`: as local.settings.json says, else 127.0.0.1 and 7071;
    port 0 takes any free port). `topology` is a Service Bus emulator configuration. `env` is added to the
    workers' environment and wins over everything else. `grace_s` is how long running invocations may take
    to finish when the host is asked to stop, or the app to be loaded again. `log` is where lines go
    (standard error when `None`). `on_serving` is called, in a thread, once the app is served and before a
    line says so. `workers` is how many worker processes run the app (`None`: as many as the app setting
    FUNCTIONS_WORKER_PROCESS_COUNT says, else one). `reload` loads the app again whenever it was edited.
    `enable_auth` asks callers for the keys that functions in Azure have; they are kept in the data
    folder. `python` is the interpreter of an environment that the app has to itself (`None`: this one).
    """

    app: Path
    data: Path
    port: int | None = None
    host: str | None = None
    topology: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    verbose: bool = False
    grace_s: float = 10.0
    log: TextIO | None = None
    on_serving: Callable[[], None] | None = None
    workers: int | None = None
    reload: bool = False
    enable_auth: bool = False
    python: Path | None = None
