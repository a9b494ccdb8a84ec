"""What the app and the templates each name: settings, queues, tables, containers, functions and roles."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from bicep_program import Deployment, Made
from deployments import ROOT, evaluate

from aos.kernel.messaging.step_message import AGENT_STEPS
from aos.services.environment.settings import Settings
from aos.services.storage import layout

NOT_DEPLOYED = {
    "AOS_DATA": "a folder, which instances in Azure do not share",
    "AOS_MODEL_API_KEY": "a secret: in Azure AOS_MODEL_API_KEY_SECRET says where it lies",
    "AOS_TELEMETRY_CONSOLE": "for a machine of one's own: in Azure it goes to Azure Monitor",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "a collector, where there is no Azure Monitor",
    "AzureWebJobsStorage": "a secret: in Azure the host's storage is reached by identity",
    "ServiceBusConnection": "a secret: in Azure the bus is reached by identity",
}
"""Settings that only a machine of one's own has, and why."""

_TOGETHER = ("everything", "key", "scheduler", "standby")
"""Kinds of deployment that together name all that any kind names."""

_IDENTITY = ("credential", "clientId")
_STORAGE = ("blobServiceUri", "queueServiceUri", "tableServiceUri", *_IDENTITY)
_BUS = ("fullyQualifiedNamespace", *_IDENTITY)
_HUB = "AzureFunctionsJobHost__extensions__durableTask__storageProvider"
_SCHEDULER = "DURABLE_TASK_SCHEDULER_CONNECTION_STRING"
_METHODS = {
    "rows": {"insert", "insert_many", "get", "replace", "upsert", "delete", "list"},
    "blobs": {"put", "get", "delete", "delete_owner"},
}
_ALSO = {"blobs": "archive"}
_TELEMETRY = ("APPLICATIONINSIGHTS_CONNECTION_STRING", "APPLICATIONINSIGHTS_AUTHENTICATION_STRING")


@dataclass(frozen=True)
class Facts:
    """What one side names. A role is a pair: which, and on what."""

    settings: frozenset[str]
    queues: frozenset[str]
    tables: frozenset[str]
    containers: frozenset[str]
    immutable_containers: frozenset[str]
    stopped_on_standby: frozenset[str]
    roles: frozenset[tuple[str, str]]


def disagreements(app: Facts, infra: Facts) -> list[str]:
    """Return a sentence for each thing that only one side names."""
    found = []
    for field in fields(Facts):
        ours, theirs = getattr(app, field.name), getattr(infra, field.name)
        found += [f"{field.name}: the app names {one}, the templates do not" for one in sorted(ours - theirs)]
        found += [
            f"{field.name}: the templates name {one}, the app does not" for one in sorted(theirs - ours)
        ]
    return found


# The app


def indexed_functions() -> list[dict[str, Any]]:
    """Return the functions of the app with their bindings, as the host would index them."""
    script = (
        "import json, function_app\n"
        "print(json.dumps([{'name': function.get_function_name(),"
        " 'bindings': [binding.get_dict_repr() for binding in function.get_bindings()]}"
        " for function in function_app.app.get_functions()], default=str))"
    )
    connection = json.loads((ROOT / "local.settings.sample.json").read_text())["Values"][
        "ServiceBusConnection"
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AOS_")}
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env=environment | {"ServiceBusConnection": connection, "AOS_DATA": folder},
            capture_output=True,
            text=True,
            check=True,
        )
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def app_facts(functions: Iterable[dict[str, Any]], host_json: str) -> Facts:
    """Return what the app names: by its settings, its triggers and its declared tables."""
    bindings = [(one["name"], binding) for one in functions for binding in one["bindings"]]
    bus = [(name, binding) for name, binding in bindings if binding["type"] == "serviceBusTrigger"]
    listened = {binding["queueName"].removesuffix("/$DeadLetterQueue") for _, binding in bus}
    durable = any(binding["type"] == "orchestrationTrigger" for _, binding in bindings)
    settings = _settings_of_the_model() | set(re.findall(r"%(\w+)%", host_json)) | set(_TELEMETRY)
    settings |= {f"AzureWebJobsStorage__{part}" for part in _STORAGE}
    settings |= {f"{binding['connection']}__{part}" for _, binding in bus for part in _BUS}
    if durable:
        settings |= {f"DurableStorage__{part}" for part in _STORAGE} | {_SCHEDULER}
        settings |= {f"{_HUB}__{part}" for part in ("connectionName", "connectionStringName", "type")}
    return Facts(
        settings=frozenset(settings - set(NOT_DEPLOYED)),
        queues=frozenset(listened | {AGENT_STEPS}),
        tables=layout.TABLES,
        containers=layout.CONTAINERS,
        immutable_containers=layout.IMMUTABLE_CONTAINERS,
        stopped_on_standby=frozenset(
            name for name, binding in bindings if binding["type"] in ("serviceBusTrigger", "timerTrigger")
        ),
        roles=frozenset(_needed_roles(settings, listened, durable)),
    )


def _settings_of_the_model() -> set[str]:
    return {
        str(field.validation_alias or f"AOS_{name}".upper()) for name, field in Settings.model_fields.items()
    }


def _needed_roles(settings: set[str], listened: set[str], durable: bool) -> Iterable[tuple[str, str]]:
    """Yield the roles without which the app could not do what its settings and triggers say it does."""
    yield from (("storageBlobDataOwner", "host"), ("storageQueueDataContributor", "host"))
    yield "storageTableDataContributor", "host"
    yield from ((f"storage{kind}DataContributor", "data") for kind in ("Blob", "Table"))
    if durable:
        yield "storageQueueDataContributor", "data"
        yield "durableTaskDataContributor", "scheduler"
    yield from (("serviceBusDataReceiver", f"queue {queue}") for queue in listened)
    yield "serviceBusDataSender", f"queue {AGENT_STEPS}"
    by_setting = {
        "AOS_CHECKPOINTS_URL": ("storageBlobDataContributor", f"container {layout.CHECKPOINTS}"),
        "AOS_SIGNING_KEY": ("keyVaultCryptoUser", "key audit-signing"),
        "AOS_MODEL_API_KEY_SECRET": ("keyVaultSecretsUser", "vault"),
        "AOS_MODEL_AUTH": ("cognitiveServicesOpenAiUser", "model"),
        "APPLICATIONINSIGHTS_AUTHENTICATION_STRING": ("monitoringMetricsPublisher", "telemetry"),
    }
    yield from (role for setting, role in by_setting.items() if setting in settings)


def named_in_code(folder: Path, store: str) -> set[str]:
    """Return each table (``store``: rows) or container (blobs) in the code, by its constant in the layout.

    Raises:
        AssertionError: one is named by something else.
    """
    used = set()
    for file in folder.rglob("*.py"):
        text = file.read_text()
        if not any(name in text for name in (store, _ALSO.get(store, store))):
            continue  # nothing in it can be on the store
        tree = ast.parse(text)
        constants = dict(_constants_of_the_layout(tree))
        for table in _first_arguments(tree, store):
            name = table.attr if isinstance(table, ast.Attribute) else constants.get(ast.unparse(table))
            assert name, f"{file}:{table.lineno}: {ast.unparse(table)} is no constant of the layout"
            used.add(name)
    return used


def _constants_of_the_layout(tree: ast.AST) -> Iterable[tuple[str, str]]:
    """Yield the names that a module gives to constants of the layout."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("layout."):
            yield ast.unparse(node.targets[0]), ast.unparse(node.value).removeprefix("layout.")


def _first_arguments(tree: ast.AST, store: str) -> Iterable[ast.expr]:
    """Yield what each call of a store is first given, also by way of functions that hand it on."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args]
    for function in ast.walk(tree):
        if not isinstance(function, ast.AsyncFunctionDef | ast.FunctionDef):
            continue
        parameters = {argument.arg for argument in function.args.args}
        for call in ast.walk(function):
            if not (isinstance(call, ast.Call) and call.args and _is_on(call.func, store)):
                continue
            if ast.unparse(call.args[0]) in parameters:
                yield from (one.args[0] for one in calls if ast.unparse(one.func) == f"self.{function.name}")
            else:
                yield call.args[0]


def _is_on(function: ast.expr, store: str) -> bool:
    if not (isinstance(function, ast.Attribute) and function.attr in _METHODS[store]):
        return False
    return ast.unparse(function.value).split(".")[-1].lstrip("_") in (store, _ALSO.get(store))


# The templates


def infra_facts(infra: Path) -> Facts:
    """Return what the templates name, in whatever kind of deployment."""
    deployments = [evaluate(infra, kind) for kind in _TOGETHER]
    roles = {guid: name for name, guid in json.loads((infra / "roles.json").read_text()).items()}
    settings = {name for one in deployments for name in _settings_given(one)}
    stopped = {
        match[1] for name in settings if (match := re.fullmatch(r"AzureWebJobs\.(\w+)\.Disabled", name))
    }
    return Facts(
        settings=frozenset(name for name in settings if not name.startswith("AzureWebJobs.")),
        queues=frozenset(
            made.body["name"]
            for one in deployments
            for made in one.of("Microsoft.ServiceBus/namespaces/queues")
        ),
        tables=frozenset(_names(deployments, "data-storage.bicep", "tableServices", "tables")),
        containers=frozenset(_names(deployments, "data-storage.bicep", "blobServices", "containers")),
        immutable_containers=frozenset(
            _names(deployments, "audit-storage.bicep", "blobServices", "containers")
        ),
        stopped_on_standby=frozenset(stopped),
        roles=frozenset(
            (roles[_role_id(made)], _on(one.existing[made.scope]))
            for one in deployments
            for made in role_assignments(one)
            if made.file != "rbac-operator.bicep"
        ),
    )


def role_assignments(deployment: Deployment) -> list[Made]:
    return deployment.of("Microsoft.Authorization/roleAssignments")


def _role_id(assignment: Made) -> str:
    return assignment.body["properties"]["roleDefinitionId"].split("/")[-1]


def _settings_given(deployment: Deployment) -> Iterable[str]:
    for site in deployment.of("br/public:avm/res/web/site"):
        for config in site.params["configs"]:
            yield from config["properties"]


def _names(deployments: list[Deployment], file: str, service: str, kind: str) -> Iterable[str]:
    for one in deployments:
        for made in one.of("br/public:avm/res/storage/storage-account"):
            if made.file == file:
                yield from (item["name"] for item in made.params.get(service, {}).get(kind, []))


def _on(scope: Made) -> str:
    """Return in our words what a role is given on."""
    kind, name = scope.what.partition("@")[0].split("/")[-1], scope.body["name"]
    match kind:
        case "storageAccounts":
            return next(one for one in ("host", "audit", "data") if f"{one}Storage" in name)
        case "queues":
            return f"queue {name}"
        case "containers":
            return f"container {name}"
        case "keys":
            return f"key {name}"
    return {"vaults": "vault", "components": "telemetry", "schedulers": "scheduler", "accounts": "model"}[
        kind
    ]
