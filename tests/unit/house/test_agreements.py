"""Files that say the same thing twice say it alike."""

from __future__ import annotations

import json
import subprocess
import tomllib
from pathlib import Path

from aos.cli.machine import DEFAULT_DATA, state_folder
from aos.functions import activities, entities, http, orchestrators, service_bus, timers
from aos.kernel.messaging.step_message import AGENT_STEPS
from aos.services.environment.settings import Settings

ROOT = Path(__file__).parents[3]


def test_the_functions_build_installs_what_the_project_depends_on() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == project["dependencies"]


def test_packages_of_the_local_runtime_are_not_deployed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    local = {
        requirement.split("=")[0].split("~")[0] for requirement in project["optional-dependencies"]["local"]
    }
    deployed = (ROOT / "requirements.txt").read_text()
    assert not [name for name in local if f"\n{name}=" in deployed or f"\n{name}~" in deployed]


def test_every_queue_that_a_function_listens_to_is_in_the_topology() -> None:
    topology = json.loads((ROOT / "infra" / "servicebus.json").read_text())
    queues = {queue["Name"] for queue in topology["UserConfig"]["Namespaces"][0]["Queues"]}
    listened = set()
    for function in service_bus.blueprint._function_builders:
        trigger = function._function.get_trigger()
        if trigger.type == "serviceBusTrigger":
            listened.add(trigger.queue_name.removesuffix("/$DeadLetterQueue"))
    assert listened == {AGENT_STEPS} == queues


def test_locks_are_renewed_for_as_long_as_a_function_may_run() -> None:
    host = json.loads((ROOT / "host.json").read_text())
    assert host["extensions"]["serviceBus"]["maxAutoLockRenewalDuration"] >= host["functionTimeout"]


def test_host_json_uses_the_preview_bundle_that_the_durable_sdk_needs() -> None:
    host = json.loads((ROOT / "host.json").read_text())
    assert host["version"] == "2.0"
    assert host["extensionBundle"] == {
        "id": "Microsoft.Azure.Functions.ExtensionBundle.Preview",
        "version": "[4.*, 5.0.0)",
    }


def test_the_sample_settings_name_only_settings_that_exist() -> None:
    values = json.loads((ROOT / "local.settings.sample.json").read_text())["Values"]
    known = {f"AOS_{name}".upper() for name in Settings.model_fields}
    functions = {"FUNCTIONS_WORKER_RUNTIME", "AzureWebJobsStorage", "TASKHUB_NAME", "ServiceBusConnection"}
    assert {name for name in values if name not in known} == functions
    assert Path(values["AOS_DATA"]).resolve() == state_folder(DEFAULT_DATA), "`aos key` looks there"


def test_every_module_of_functions_is_registered() -> None:
    registered = (ROOT / "function_app.py").read_text()
    for module in (activities, entities, http, orchestrators, service_bus, timers):
        assert module.__name__.rpartition(".")[2] in registered
    blueprints = {
        path.stem for path in (ROOT / "aos/functions").glob("*.py") if "\nblueprint = " in path.read_text()
    }
    assert all(name in registered for name in blueprints)


def test_the_python_version_is_the_one_that_the_project_requires() -> None:
    assert (ROOT / ".python-version").read_text().strip() == "3.13"


def test_make_says_in_one_line_how_to_get_a_missing_python(tmp_path: Path) -> None:
    for tool in ("make", "sh", "touch"):
        found = subprocess.run(["which", tool], capture_output=True, text=True, check=True).stdout.strip()
        (tmp_path / tool).symlink_to(found)
    done = subprocess.run(
        ["make", "-C", str(ROOT), "setup", "VENV=.no-such-venv"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert [line for line in done.stderr.splitlines() if "python3.13" in line and "install" in line]
