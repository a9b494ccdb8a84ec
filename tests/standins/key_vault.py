"""A vault of Azure Key Vault: EC keys that never leave it, secrets, versions of both."""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass, field
from typing import Any

from azure.core.credentials import AccessToken
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

TOKEN = "token-of-the-identity"


class Identity:
    """A credential of azure-identity's form; remembers for what it was asked."""

    def __init__(self) -> None:
        self.scopes: list[str] = []

    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        self.scopes += scopes
        return AccessToken(TOKEN, int(time.time()) + 3600)

    async def close(self) -> None:
        return None

    async def __aenter__(self) -> Identity:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None


@dataclass
class Version:
    """A version of a key or a secret."""

    version: str
    created: int
    key: Any = None
    value: str | None = None
    enabled: bool = True
    expires: int | None = None


@dataclass
class Vault:
    """Serves what the SDK's clients ask for. ``failures`` are statuses to answer with first."""

    url: str = ""
    keys: dict[str, list[Version]] = field(default_factory=dict)
    secrets: dict[str, list[Version]] = field(default_factory=dict)
    failures: list[int] = field(default_factory=list)
    failing: int | None = None
    signed: int = 0
    listed: int = 0
    read: int = 0

    def rotate_key(self, name: str, key: Any = None) -> Version:
        """Add a version, which is the newest."""
        version = self._next(self.keys.setdefault(name, []))
        version.key = key if key is not None else ec.generate_private_key(ec.SECP256R1())
        return version

    def set_secret(self, name: str, value: str) -> Version:
        """Add a version, which is the newest."""
        version = self._next(self.secrets.setdefault(name, []))
        version.value = value
        return version

    def _next(self, versions: list[Version]) -> Version:
        version = Version(f"{len(versions) + 1:032x}", 1_700_000_000 + len(versions))
        versions.append(version)
        return version

    @property
    def app(self) -> FastAPI:
        """The vault as an ASGI app."""
        app = FastAPI(openapi_url=None)

        @app.middleware("http")
        async def guard(request: Request, call_next: Any) -> Any:
            if request.headers.get("authorization") != f"Bearer {TOKEN}":
                # The SDK wants a resource that the vault's host is below, as NAME.vault.azure.net is.
                resource = f"https://{request.headers['host'].partition('.')[2]}"
                challenge = f'Bearer authorization="https://login.example/t", resource="{resource}"'
                return _error(401, "Unauthorized", {"WWW-Authenticate": challenge})
            if self.failing is not None or self.failures:
                status = self.failing or self.failures.pop(0)
                return _error(status, "Throttled" if status == 429 else "Forbidden", {"Retry-After": "0"})
            return await call_next(request)

        @app.get("/keys/{name}/versions")
        async def versions(name: str) -> Any:
            versions = self.keys.get(name, [])  # of no key there are none: that is no error
            self.listed += 1
            listed = [_attributes(each) | {"kid": self._id("keys", name, each)} for each in versions]
            return {"value": listed, "nextLink": None}

        @app.get("/keys/{name}/{version:path}")
        async def key(name: str, version: str) -> Any:
            found = _find(self.keys.get(name, []), version)
            if found is None or not found.enabled:
                return _error(404, "KeyNotFound") if found is None else _error(403, "KeyDisabled")
            return {"key": _jwk(found.key) | {"kid": self._id("keys", name, found)}, **_attributes(found)}

        @app.post("/keys/{name}/{version}/sign")
        async def sign(name: str, version: str, request: Request) -> Any:
            found, body = _find(self.keys.get(name, []), version), await request.json()
            if found is None or not found.enabled:
                return _error(404 if found is None else 403, "KeyDisabled")
            assert body["alg"] == "ES256"
            der = found.key.sign(_unbase64(body["value"]), ec.ECDSA(Prehashed(hashes.SHA256())))
            self.signed += 1
            raw = b"".join(number.to_bytes(32) for number in decode_dss_signature(der))
            return {"kid": self._id("keys", name, found), "value": _base64(raw)}

        @app.get("/secrets/{name}/{version:path}")
        async def secret(name: str, version: str) -> Any:
            self.read += 1
            found = _find(self.secrets.get(name, []), version)
            if found is None or not found.enabled:
                return _error(404, "SecretNotFound") if found is None else _error(403, "SecretDisabled")
            return {"value": found.value, "id": self._id("secrets", name, found), **_attributes(found)}

        return app

    def _id(self, kind: str, name: str, version: Version) -> str:
        return f"{self.url}/{kind}/{name}/{version.version}"


def _find(versions: list[Version], wanted: str) -> Version | None:
    """The version asked for; without one the newest, whether it is enabled or not."""
    wanted = wanted.strip("/")
    able = [each for each in versions if not wanted or each.version == wanted]
    return able[-1] if able else None


def _attributes(version: Version) -> dict[str, Any]:
    at = version.created
    expiry = {} if version.expires is None else {"exp": version.expires}
    return {"attributes": {"enabled": version.enabled, "created": at, "updated": at, **expiry}}


def _jwk(key: Any) -> dict[str, Any]:
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = key.public_key().public_numbers()
        return {"kty": "RSA", "n": _base64(numbers.n.to_bytes(256)), "e": _base64(numbers.e.to_bytes(3))}
    point, size = key.public_key().public_numbers(), (key.curve.key_size + 7) // 8
    curve = {"secp256r1": "P-256", "secp384r1": "P-384"}[key.curve.name]
    return {
        "kty": "EC",
        "crv": curve,
        "x": _base64(point.x.to_bytes(size)),
        "y": _base64(point.y.to_bytes(size)),
    }


def _error(status: int, code: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": code}}, status, headers)


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
