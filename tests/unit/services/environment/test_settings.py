"""Settings are read once, and what is wrong is named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aos.kernel.errors import InvalidSetting
from aos.services.environment.clock import timestamp
from aos.services.environment.settings import load_settings


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("AOS_") or name in ("AzureWebJobsStorage", "ServiceBusConnection"):
            monkeypatch.delenv(name)


def test_without_any_setting_everything_is_local_and_the_model_is_the_mock() -> None:
    settings = load_settings()
    assert (settings.storage, settings.model, settings.data) == ("local", "mock", Path(".aos"))


def test_an_unknown_setting_stops_the_start_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AOS_MODELL", "gpt-4o")
    with pytest.raises(InvalidSetting, match="AOS_MODELL"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AOS_STORAGE", "floppy"),
        ("AOS_TENANT", "Not An Id"),
        ("AOS_TENANT_BUDGET_USD", "-1"),
        ("AOS_AUTH_AUDIENCE", ""),
        ("AOS_AUTH_AUDIENCE", "api://"),
        ("AOS_AUTH_AUDIENCE", "two words"),
        ("AOS_AUTH_TENANT_ID", "contoso.onmicrosoft.com"),
        ("AOS_AUTH_AUTHORITY", "http://login.example"),
        ("AOS_SIGNING_KEY", "https://v.vault.azure.net/keys/audit/0123456789abcdef0123456789abcdef"),
        ("AOS_TELEMETRY_SHARE", "1.1"),
    ],
)
def test_a_malformed_setting_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSetting, match=name):
        load_settings()


def test_connections_use_the_names_of_functions_and_are_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AzureWebJobsStorage", "AccountKey=topsecret")
    settings = load_settings()
    assert settings.storage_connection is not None
    assert "topsecret" not in repr(settings)


def test_the_clients_own_settings_are_not_the_apps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AOS_URL", "http://127.0.0.1:7071")
    monkeypatch.setenv("AOS_KEY", "aos_x")
    assert "aos_x" not in repr(load_settings())


def test_timestamps_have_milliseconds_and_are_utc() -> None:
    assert timestamp(0.0015) == "1970-01-01T00:00:00.001Z"


VAULT = "https://v.vault.azure.net"
DIRECTORY = "8f6f3d0e-6a3f-4a0e-9a57-2f1f3a9f6f01"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            {"AOS_STORAGE_TABLES_URL": "https://t"},
            "AOS_STORAGE_TABLES_URL and AOS_STORAGE_BLOBS_URL are given",
        ),
        ({"AOS_AUTH_TENANT_ID": DIRECTORY}, "AOS_AUTH_TENANT_ID and AOS_AUTH_AUDIENCE are given together"),
        (
            {"ServiceBusConnection": "Endpoint=sb://x", "ServiceBusConnection__fullyQualifiedNamespace": "x"},
            "ServiceBusConnection__fullyQualifiedNamespace exclude each other",
        ),
        (
            {"AOS_MODEL_API_KEY": "sk-secret", "AOS_MODEL_AUTH": "identity"},
            "AOS_MODEL_AUTH=identity exclude each other",
        ),
        (
            {"AOS_MODEL_API_KEY": "sk-secret", "AOS_MODEL_API_KEY_SECRET": f"{VAULT}/secrets/key"},
            "AOS_MODEL_API_KEY_SECRET and AOS_MODEL_AUTH=identity exclude each other",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], says: str
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSetting, match=says) as refusal:
        load_settings()
    assert "sk-secret" not in refusal.value.message


@pytest.mark.parametrize(
    ("given", "needs"),
    [
        ({}, False),
        ({"AOS_STORAGE": "azure", "AzureWebJobsStorage": "AccountKey=k"}, False),
        (
            {
                "AOS_STORAGE": "azure",
                "AOS_STORAGE_TABLES_URL": "https://t",
                "AOS_STORAGE_BLOBS_URL": "https://b",
            },
            True,
        ),
        ({"ServiceBusConnection__fullyQualifiedNamespace": "x"}, True),
        ({"AOS_SIGNING_KEY": f"{VAULT}/keys/audit"}, True),
        ({"AOS_CHECKPOINTS_URL": "https://b"}, True),
        ({"AOS_MODEL_AUTH": "identity"}, True),
        ({"AOS_MODEL_API_KEY_SECRET": f"{VAULT}/secrets/key"}, True),
        ({"APPLICATIONINSIGHTS_CONNECTION_STRING": "InstrumentationKey=x"}, False),
        ({"APPLICATIONINSIGHTS_CONNECTION_STRING": "I=x", "AOS_IDENTITY_CLIENT_ID": DIRECTORY}, True),
    ],
)
def test_an_identity_is_asked_for_where_something_is_reached_without_a_key(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], needs: bool
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert load_settings().needs_identity is needs
