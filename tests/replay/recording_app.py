"""The real Functions app, which also writes down each turn of its orchestrators; `record.py` serves it."""

import base64
import json
import os
import runpy
import threading
from pathlib import Path
from typing import Any

from azure.durable_functions.worker import DurableFunctionsWorker

from aos.functions import workflow_shell

_FILE = Path(os.environ["RECORD_TO"])
_LOCK = threading.Lock()
_run = DurableFunctionsWorker._run_orchestration


def _recorded(worker: DurableFunctionsWorker, orchestrator: Any, request: Any) -> Any:
    asked = request.SerializeToString()
    response = _run(worker, orchestrator, request)
    pair = [base64.b64encode(each).decode() for each in (asked, response.SerializeToString())]
    with _LOCK, _FILE.open("a") as file:
        file.write(json.dumps(pair) + "\n")
    return response


workflow_shell.MAX_TURNS = int(os.environ["RECORD_MAX_TURNS"])
DurableFunctionsWorker._run_orchestration = _recorded  # type: ignore[method-assign, assignment]
app = runpy.run_path(str(Path(os.environ["RECORD_ROOT"]) / "function_app.py"))["app"]
