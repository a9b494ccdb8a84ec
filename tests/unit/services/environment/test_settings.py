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
    [("AOS_STORAGE", "floppy"), ("AOS_TENANT", "Not An Id"), ("AOS_TENANT_BUDGET_USD", "-1")],
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
