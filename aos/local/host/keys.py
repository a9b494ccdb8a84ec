"""The access keys of a function app, in one file of the data folder that nobody else may read."""

import hmac
import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from aos.local.host.errors import HostError
from aos.local.host.files import replace_file
from aos.local.host.settings import read_json_object

DURABLE_KEY = "durabletask_extension"
"""The system key that guards the management API of Durable Functions."""

MASTER_KEY = "_master"
DEFAULT_KEY = "default"

_PRIVATE = 0o600
_RANDOM_BYTES = 40  # as many as the keys of a function app in Azure have

type Named = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The keys by what they open: everything, any function, an extension's API, one function."""

    master: str
    host: Named
    system: Named
    functions: Mapping[str, Named] = field(default_factory=dict)

    def opens_all(self, given: str) -> bool:
        """Whether this is the master key."""
        return _same(given, [self.master])

    def opens_function(self, given: str, name: str) -> bool:
        """Whether this is a key of the host or of the function."""
        return _same(given, [*self.host.values(), *self.functions.get(name.lower(), {}).values()])

    def opens_extension(self, given: str, key_name: str) -> bool:
        """Whether this is the system key of that name."""
        return _same(given, [self.system[key_name]] if key_name in self.system else [])

    def with_functions(self, names: Iterable[str]) -> "KeyRing":
        """The ring with a key for each function that had none."""
        missing = {name.lower() for name in names} - set(self.functions)
        made = {name: {DEFAULT_KEY: _new_key()} for name in sorted(missing)}
        return replace(self, functions={**self.functions, **made}) if made else self


def _same(given: str, keys: list[str]) -> bool:
    """Whether one of the keys is given, found out in a time that does not tell which, or how much of it."""
    presented = given.encode(errors="surrogateescape")  # headers may be no UTF-8
    return any([hmac.compare_digest(presented, key.encode()) for key in keys])  # noqa: C419 - compare all


class KeyFile:
    """Where the ring is kept; made with new keys the first time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ring = self._read() if path.exists() else KeyRing(_new_key(), {DEFAULT_KEY: _new_key()}, {})
        if DURABLE_KEY not in self.ring.system:
            self._keep(replace(self.ring, system={**self.ring.system, DURABLE_KEY: _new_key()}))

    def admit_functions(self, names: Iterable[str]) -> None:
        """Have a key for each of these functions."""
        ring = self.ring.with_functions(names)
        if ring is not self.ring:
            self._keep(ring)

    def _keep(self, ring: KeyRing) -> None:
        self._write(ring)
        self.ring = ring

    def _read(self) -> KeyRing:
        document = read_json_object(self.path)
        try:
            self.path.chmod(_PRIVATE)
        except OSError as error:
            raise HostError(f"cannot protect {self.path}: {error.strerror}") from error
        return KeyRing(
            master=self._key(document.get("masterKey"), "masterKey"),
            host=self._named(document, "functionKeys"),
            system=self._named(document, "systemKeys"),
            functions={
                name.lower(): self._named(self._object(document, "functions"), name)
                for name in self._object(document, "functions")
            },
        )

    def _write(self, ring: KeyRing) -> None:
        document = {
            "masterKey": ring.master,
            "functionKeys": ring.host,
            "systemKeys": ring.system,
            "functions": ring.functions,
        }
        try:
            replace_file(self.path, json.dumps(document, indent=2) + "\n", mode=_PRIVATE)
        except OSError as error:
            raise HostError(f"cannot write {self.path}: {error.strerror}") from error

    def _object(self, document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
        value = document.get(name, {})
        if not isinstance(value, Mapping):
            raise HostError(f"{self.path}: {name} must be an object")
        return value

    def _named(self, document: Mapping[str, Any], name: str) -> Named:
        return {key: self._key(value, f"{name}.{key}") for key, value in self._object(document, name).items()}

    def _key(self, value: object, where: str) -> str:
        """An empty key would let in whoever gives none."""
        if not isinstance(value, str) or not value:
            raise HostError(f"{self.path}: {where} must be a key: a text that is not empty")
        return value


def _new_key() -> str:
    return secrets.token_urlsafe(_RANDOM_BYTES)
