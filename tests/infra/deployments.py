"""The deployments that the tests look at: one of each kind that parameters can choose."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

from bicep_program import Deployment, Made, deploy

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
_OPENAI = "/subscriptions/s/resourceGroups/r/providers/Microsoft.CognitiveServices/accounts/a"

KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "everything": {
        "principalId": "1b0d7e8e-0000-4000-8000-000000000001",
        "alertEmail": "operator@example.com",
        "authAudience": "api://aos",
        "tenantBudgetUsd": "100",
        "model": "gpt",
        "modelBaseUrl": "https://model.example.com/openai/v1/",
        "modelPriceInput": "1.5",
        "modelPriceOutput": "6",
        "openAiAccountId": _OPENAI,
        "alwaysReadyDurable": 1,
        "telemetryShare": "0.2",
        "frontDoorEnabled": True,
        "deletionProtection": True,
    },
    "key": {
        "model": "gpt",
        "modelBaseUrl": "https://model.example.com/v1",
        "modelAuth": "key",
        "modelApiKey": "not a real one",
        "modelPriceInput": "1.5",
        "modelPriceOutput": "6",
    },
    "scheduler": {"durableBackend": "azureManaged"},
    "private": {"vnetEnabled": True, "frontDoorEnabled": True},
    "allowed": {"vnetEnabled": True, "allowedAddresses": "203.0.113.7/32, 198.51.100.0/24"},
    "standby": {"standbyLocation": "northeurope", "frontDoorEnabled": True},
    "promoted": {"standbyLocation": "northeurope", "frontDoorEnabled": True, "activeRegion": "standby"},
    "private standby": {"standbyLocation": "northeurope", "vnetEnabled": True, "zoneRedundant": True},
}


def evaluate(infra: Path, kind: str) -> Deployment:
    """Evaluate the templates of a folder for one kind of deployment."""
    return deploy(infra / "main.bicep", {"environmentName": "dev", "location": "westeurope", **KINDS[kind]})


@functools.cache
def deployment(kind: str) -> Deployment:
    """Return one of the deployments of our own templates."""
    return evaluate(INFRA, kind)


_SYMBOL = r"(?:/[\w\[\]]+)+"
_AS_IN_AZURE = (
    (rf"{_SYMBOL}\.outputs\.serviceEndpoints\.(blob|queue|table)", r"https://account.\1.core.windows.net/"),
    (rf"{_SYMBOL}\.outputs\.clientId", "1b0d7e8e-0000-4000-8000-000000000002"),
    (rf"{_SYMBOL}\.outputs\.uri(?=keys/|secrets/)", "https://vault.vault.azure.net/"),
    (rf"split\(split\({_SYMBOL}\.properties\.serviceBusEndpoint\)\[1\]\)\[0\]", "bus.servicebus.windows.net"),
    (rf"{_SYMBOL}\.outputs\.connectionString", "InstrumentationKey=1b0d7e8e-0000-4000-8000-000000000003"),
    (rf"{_SYMBOL}\.properties\.endpoint", "https://scheduler.westeurope.durabletask.io"),
    (rf"{_SYMBOL}\.outputs\.name", "account"),
)


def app_settings(site: Made) -> dict[str, str]:
    """Return the settings of an app as the app would see them in Azure."""
    given = next(config for config in site.params["configs"] if config["name"] == "appsettings")["properties"]
    return {name: _as_in_azure(value) for name, value in given.items()}


def _as_in_azure(value: str) -> str:
    for pattern, answer in _AS_IN_AZURE:
        value = re.sub(pattern, answer, value)
    assert ".outputs" not in value, value
    assert ".properties" not in value, value
    return value
