"""App settings: local.settings.json, the environment, and `%NAME%` in bindings."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aos.local.host import jsonc
from aos.local.host.answers import LARGEST_BODY
from aos.local.host.cors import Cors, read_cors
from aos.local.host.errors import HostError

DEFAULT_ADDRESS = "127.0.0.1"
DEFAULT_PORT = 7071
MOST_WORKERS = 10  # of a Functions app in Azure too
_WORKER_COUNT = "FUNCTIONS_WORKER_PROCESS_COUNT"
_BODY_LIMIT = "FUNCTIONS_REQUEST_BODY_SIZE_LIMIT"
_FILE = "local.settings.json"
_REFERENCE = re.compile(r"%([^%\s]+)%")


def read_json_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; `HostError` naming the file when that is not what it holds."""
    try:
        value = jsonc.loads(path.read_text(encoding="utf-8-sig"))
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
    path = app / _FILE
    document = _document(path)
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


def local_endpoint(app: Path) -> tuple[str, int]:
    """`Host.LocalHttpAddress` and `Host.LocalHttpPort` of local.settings.json, else 127.0.0.1 and 7071."""
    path = app / _FILE
    section = _section(_document(path), "Host", path)
    address, port = (
        section.get("LocalHttpAddress") or DEFAULT_ADDRESS,
        section.get("LocalHttpPort", DEFAULT_PORT),
    )
    if not isinstance(address, str):
        raise HostError(f"{path}: Host.LocalHttpAddress must be an address, as a text")
    if not isinstance(port, int) or isinstance(port, bool) or not 0 < port < 65536:
        raise HostError(f"{path}: Host.LocalHttpPort must be a port number")
    return address, port


def local_cors(app: Path) -> Cors:
    """`Host.CORS` and `Host.CORSCredentials` of local.settings.json; nobody may when they are absent."""
    path = app / _FILE
    try:
        return read_cors(_section(_document(path), "Host", path))
    except ValueError as error:
        raise HostError(f"{path}: {error}") from error


def worker_count(settings: Mapping[str, str]) -> int:
    """How many worker processes the app asks for: FUNCTIONS_WORKER_PROCESS_COUNT, else one."""
    text = settings.get(_WORKER_COUNT) or "1"
    if text not in map(str, range(1, MOST_WORKERS + 1)):
        raise HostError(f"{_WORKER_COUNT} is {text!r}: it must be a number from 1 to {MOST_WORKERS}")
    return int(text)


def largest_body(settings: Mapping[str, str]) -> int:
    """How many bytes the body of a request may have: FUNCTIONS_REQUEST_BODY_SIZE_LIMIT, else 100 MiB."""
    text = settings.get(_BODY_LIMIT) or str(LARGEST_BODY)
    if not text.isascii() or not text.isdecimal() or not int(text):
        raise HostError(f"{_BODY_LIMIT} is {text!r}: it must be a number of bytes")
    return int(text)


def _document(path: Path) -> dict[str, Any]:
    return read_json_object(path) if path.exists() else {}


def _section(document: Mapping[str, Any], name: str, path: Path) -> Mapping[str, Any]:
    section = document.get(name) or {}
    if not isinstance(section, Mapping):
        raise HostError(f"{path}: {name} must be an object")
    return section


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
