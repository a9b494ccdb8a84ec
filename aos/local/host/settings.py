"""App settings: local.settings.json, the environment, and `%NAME%` in bindings."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aos.local.host.errors import HostError

_REFERENCE = re.compile(r"%([^%\s]+)%")


def read_json_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; `HostError` naming the file when that is not what it holds."""
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise HostError(f"cannot read {path}: {reason}") from error
    except json.JSONDecodeError as error:
        raise HostError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise HostError(f"{path} must hold a JSON object")
    return value


def local_settings(app: Path) -> dict[str, str]:
    """The `Values` of local.settings.json, or nothing when the file does not exist."""
    path = app / "local.settings.json"
    if not path.exists():
        return {}
    document = read_json_object(path)
    if document.get("IsEncrypted"):
        raise HostError(
            f"{path}: IsEncrypted settings cannot be read; decrypt them with `func settings decrypt`"
        )
    values = document.get("Values", {})
    if not isinstance(values, dict):
        raise HostError(f"{path}: Values must be an object")
    for name, value in values.items():
        if not isinstance(value, str | int | float | bool | None):
            raise HostError(f"{path}: Values.{name} must be a string")
    return {name: _text(value) for name, value in values.items() if value not in (None, "")}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def app_settings(app: Path, environment: Mapping[str, str], overrides: Mapping[str, str]) -> dict[str, str]:
    """The worker's environment: as in Core Tools a variable already set wins over local.settings.json."""
    settings = dict(environment)
    for name, value in local_settings(app).items():
        if not settings.get(name):
            settings[name] = value
    settings.update(overrides)
    runtime = settings.setdefault("FUNCTIONS_WORKER_RUNTIME", "python")
    if runtime.lower() != "python":
        raise HostError(f"FUNCTIONS_WORKER_RUNTIME is {runtime!r}: this host runs Python apps only")
    settings.setdefault("AZURE_FUNCTIONS_ENVIRONMENT", "Development")
    settings["AzureWebJobsScriptRoot"] = str(app)
    return settings


def substitute(text: str, settings: Mapping[str, str], where: str) -> str:
    """`text` with each `%NAME%` replaced by the app setting; `HostError` naming one that is absent."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in settings:
            raise HostError(f"{where}: %{name}% names an app setting that is not set")
        return settings[name]

    return _REFERENCE.sub(value, text)
