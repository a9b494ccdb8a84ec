"""What a worker's start costs: what a setting does not ask for is not imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
NOT_AT_THE_START = {
    "agent_framework",
    "azure.data.tables",
    "azure.identity",
    "azure.keyvault",
    "azure.monitor",
    "azure.servicebus",
    "azure.storage.blob",
    "jwt",
    "openai",
    "opentelemetry.sdk",
}


def test_a_start_imports_nothing_that_its_settings_do_not_ask_for(tmp_path: Path):
    connection = json.loads((ROOT / "local.settings.sample.json").read_text())["Values"][
        "ServiceBusConnection"
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AOS_")}
    done = subprocess.run(
        [sys.executable, "-c", "import function_app, sys; print(*sys.modules, sep='\\n')"],
        cwd=ROOT,
        env=environment | {"ServiceBusConnection": connection, "AOS_DATA": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    imported = set(done.stdout.split())
    assert "aos.services.system" in imported
    assert imported & NOT_AT_THE_START == set()
