"""The keys with which an issuer signs tokens, from its JWKS document (RFC 7517).

Nothing blocks: the document is fetched by the event loop, once for all who wait. A key that is known is
answered from memory; when the document has aged, it is fetched anew behind the answer. A key id that is
not known asks for the document at most once a minute, so that made-up ids cannot flood the issuer; where
the issuer did not answer, it is asked again sooner.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from aos.kernel.errors import Unavailable

_LOG = logging.getLogger(__name__)

FRESH_S = 24 * 3600.0
"""After this long the document is fetched anew."""
TRUSTED_S = 72 * 3600.0
"""After this long without the issuer, its keys are trusted no more."""
ASKED_S = 60.0
"""The least time between two requests that were answered."""
RETRY_S = 5.0
"""The least time before another request after one that was not."""
_TIMEOUT_S = 5.0


class SigningKeys:
    """The RSA keys at ``url``, by key id. For one event loop."""

    def __init__(self, url: str, *, clock: Callable[[], float], tls: ssl.SSLContext | None = None) -> None:
        self._url = url
        self._clock = clock
        self._http = httpx.AsyncClient(timeout=_TIMEOUT_S, verify=True if tls is None else tls)
        self._keys: dict[str, RSAPublicKey] = {}
        self._fetched_at: float | None = None
        self._tried_at: float | None = None
        self._fetching: asyncio.Task[None] | None = None

    async def get(self, key_id: str) -> RSAPublicKey | None:
        """Return the key, or None: the issuer has none of this id.

        Raises:
            Unavailable: the issuer does not answer, and what it said last is too old or lacks the key.
        """
        age = self._age
        if age is not None and age < TRUSTED_S and (key := self._keys.get(key_id)):
            if age >= FRESH_S:
                self._refresh()
            return key
        task = self._refresh()
        if task is not None:
            await asyncio.shield(task)
        if self._age is None or self._age >= TRUSTED_S or self._fetched_at != self._tried_at:
            raise Unavailable("the issuer's signing keys cannot be fetched now")
        return self._keys.get(key_id)

    async def close(self) -> None:
        """End what is under way and disconnect."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])
        await self._http.aclose()

    @property
    def _age(self) -> float | None:
        """Seconds since the document was fetched; a clock that was set back makes it fresh, not old."""
        return None if self._fetched_at is None else max(0.0, self._clock() - self._fetched_at)

    def _refresh(self) -> asyncio.Task[None] | None:
        """The request under way, a new one, or None when the last one was a moment ago."""
        if self._fetching is None or self._fetching.done():
            now = self._clock()
            pause_s = ASKED_S if self._fetched_at == self._tried_at else RETRY_S
            if self._tried_at is not None and 0 <= now - self._tried_at < pause_s:
                return None
            self._fetching = asyncio.create_task(self._fetch(now))
        return self._fetching

    async def _fetch(self, now: float) -> None:
        try:
            response = await self._http.get(self._url)
            response.raise_for_status()
            keys = _keys_of(response.json())
        except (httpx.HTTPError, ValueError) as error:
            _LOG.warning("the signing keys at %s cannot be fetched: %s", self._url, type(error).__name__)
        else:
            self._keys, self._fetched_at = keys, now
        finally:
            self._tried_at = now


def _keys_of(document: Any) -> dict[str, RSAPublicKey]:
    """Every key for signatures that can be read; one that cannot harms no other.

    Raises:
        ValueError: there is none.
    """
    listed = document.get("keys") if isinstance(document, Mapping) else None
    keys = {}
    for each in listed if isinstance(listed, list) else ():
        if isinstance(each, Mapping) and isinstance(each.get("kid"), str) and each.get("use", "sig") == "sig":
            try:
                key = jwt.PyJWK.from_dict(dict(each), algorithm="RS256").key
            except (jwt.PyJWTError, ValueError, TypeError):
                continue
            if isinstance(key, RSAPublicKey):
                keys[each["kid"]] = key
    if not keys:
        raise ValueError("the document holds no RSA key")
    return keys
