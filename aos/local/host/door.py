"""Who may call what: nobody is asked for a key, or everybody is, as the function's level says."""

import enum
from collections.abc import Iterable
from typing import Protocol

from aiohttp import web

from aos.local.host.keys import DURABLE_KEY, KeyFile, KeyRing

_HEADER = "x-functions-key"
_PARAMETER = "code"


class Level(enum.StrEnum):
    """What a function of an HTTP trigger asks of its caller."""

    ANONYMOUS = "anonymous"
    FUNCTION = "function"  # a key of the function or of the host
    ADMIN = "admin"  # the master key


class Door(Protocol):
    """Decides on requests by the key that they carry."""

    @property
    def ring(self) -> KeyRing | None:
        """The keys, if there are any."""

    def expect(self, functions: Iterable[str]) -> None:
        """The app has these functions."""

    def admits(self, request: web.BaseRequest, level: Level, function: str = "") -> bool:
        """Whether the request may call a function of that level."""

    def admits_to_durable(self, request: web.BaseRequest) -> bool:
        """Whether the request may use the management API."""


class OpenDoor:
    """Lets everybody in, as Core Tools does unless told otherwise."""

    ring = None

    def expect(self, functions: Iterable[str]) -> None:
        """There is nothing to prepare."""

    def admits(self, request: web.BaseRequest, level: Level, function: str = "") -> bool:
        """Everybody may."""
        return True

    def admits_to_durable(self, request: web.BaseRequest) -> bool:
        """Everybody may."""
        return True


class KeyedDoor:
    """Lets in who gives a key that opens what is asked for. No key given opens nothing."""

    def __init__(self, keys: KeyFile) -> None:
        self._keys = keys

    @property
    def ring(self) -> KeyRing:
        """The keys."""
        return self._keys.ring

    def expect(self, functions: Iterable[str]) -> None:
        """Have keys for these functions."""
        self._keys.admit_functions(functions)

    def admits(self, request: web.BaseRequest, level: Level, function: str = "") -> bool:
        """Whether the request's key is of that level, or the master key."""
        if level is Level.ANONYMOUS:
            return True
        key = _key_of(request)
        if not key:
            return False
        by_name = level is Level.FUNCTION and self.ring.opens_function(key, function)
        return self.ring.opens_all(key) or by_name

    def admits_to_durable(self, request: web.BaseRequest) -> bool:
        """Whether the request's key is the system key of the durable extension, or the master key."""
        key = _key_of(request)
        return bool(key) and (self.ring.opens_extension(key, DURABLE_KEY) or self.ring.opens_all(key))


def _key_of(request: web.BaseRequest) -> str:
    """The key in the header, else the one in the query; empty when there is none."""
    given = request.headers.get(_HEADER)
    return request.query.get(_PARAMETER, "") if given is None else given
