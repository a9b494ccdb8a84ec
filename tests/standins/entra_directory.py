"""A directory of Microsoft Entra ID: it issues tokens with real keys and serves their public halves."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from fastapi import FastAPI
from fastapi.responses import JSONResponse

TENANT = "8f6f3d0e-6a3f-4a0e-9a57-2f1f3a9f6f01"
AUDIENCE = "3c0b6f7a-31a5-4c2e-8d1b-0d6a0b8f2c11"
OBJECT = "0f6a51d4-64c8-4f3c-8bb3-1d53f4c1a001"
CLIENT = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
OF_AN_APPLICATION = {"preferred_username": None, "scp": None, "sub": OBJECT}
"""How the token of an application or a managed identity differs from a person's."""


def new_key() -> rsa.RSAPrivateKey:
    """A key as the directory has them."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass
class Directory:
    """Serves ``/{tenant}/discovery/v2.0/keys``; ``authority`` is where, once it is served."""

    authority: str = ""
    keys: dict[str, rsa.RSAPrivateKey] = field(default_factory=lambda: {"k1": new_key()})
    signing: str = "k1"
    fetched: int = 0
    failing: bool = False
    holding: asyncio.Event | None = None
    """While set to an event that is not set, answers wait for it."""

    @property
    def app(self) -> FastAPI:
        """The directory as an ASGI app."""
        app = FastAPI(openapi_url=None)

        @app.get("/{tenant}/discovery/v2.0/keys")
        async def discovery(tenant: str) -> JSONResponse:
            self.fetched += 1
            if self.holding is not None:
                await self.holding.wait()
            if self.failing or tenant != TENANT:
                return JSONResponse({"error": "invalid_tenant"}, 503 if self.failing else 400)
            return JSONResponse({"keys": [_jwk(kid, key) for kid, key in self.keys.items()]})

        return app

    def rotate(self, kid: str) -> None:
        """Sign with a new key from now on; the old ones are served no more."""
        self.keys, self.signing = {kid: new_key()}, kid

    def public_pem(self, kid: str = "k1") -> bytes:
        """What anybody knows of a key."""
        return (
            self.keys[kid]
            .public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )

    def claims(self, *roles: str, at: float | None = None, **changes: Any) -> dict[str, Any]:
        """What a valid token of a person says; a change to None leaves the claim out."""
        now = int(time.time() if at is None else at)
        claims = {
            "iss": f"{self.authority}/{TENANT}/v2.0",
            "aud": AUDIENCE,
            "tid": TENANT,
            "oid": OBJECT,
            "sub": "sub",
            "ver": "2.0",
            "iat": now,
            "nbf": now,
            "exp": now + 3600,
            "preferred_username": "ada@contoso.example",
            "azp": CLIENT,
            "scp": "access_as_user",
            "roles": list(roles),
        }
        return {name: value for name, value in (claims | changes).items() if value is not None}

    def token(self, *roles: str, kid: str | None = None, at: float | None = None, **changes: Any) -> str:
        """A token that the directory issued."""
        kid = kid or self.signing
        return self.sign(self.claims(*roles, at=at, **changes), kid=kid, key=self.keys[kid])

    def sign(self, claims: dict[str, Any], *, kid: str | None, key: rsa.RSAPrivateKey) -> str:
        """A token signed with any key under any key id."""
        return jwt.encode(claims, key, algorithm="RS256", headers={"kid": kid} if kid else None)


def forged_none(claims: dict[str, Any]) -> str:
    """A token of the algorithm ``none``."""
    return f"{_part({'alg': 'none', 'typ': 'JWT', 'kid': 'k1'})}.{_part(claims)}."


def forged_hs256(claims: dict[str, Any], public_pem: bytes) -> str:
    """A token that takes the public key for a shared secret."""
    signed = f"{_part({'alg': 'HS256', 'typ': 'JWT', 'kid': 'k1'})}.{_part(claims)}"
    mac = hmac.new(public_pem, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{_base64(mac)}"


def _part(value: dict[str, Any]) -> str:
    return _base64(json.dumps(value).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _jwk(kid: str, key: rsa.RSAPrivateKey) -> dict[str, Any]:
    return {
        **jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True),
        "kid": kid,
        "use": "sig",
        "kty": "RSA",
    }


def faults(directory: Directory, role: str) -> dict[str, str]:
    """Every way in which a token for this role can be wrong, by name."""
    good, stranger = directory.claims(role), new_key()
    token, now = directory.token(role), time.time()
    head, body, signature = token.split(".")
    return {
        "expired": directory.token(role, at=now - 7200),
        "not yet valid": directory.token(role, at=now + 7200),
        "wrong audience": directory.token(role, aud="https://graph.microsoft.com"),
        "wrong issuer": directory.token(role, iss=f"https://login.example/{TENANT}/v2.0"),
        "wrong tenant": directory.token(role, tid="11111111-2222-3333-4444-555555555555"),
        "another tenant's issuer": directory.token(role, iss=f"{directory.authority}/common/v2.0"),
        "alg none": forged_none(good),
        "HS256 with the public key": forged_hs256(good, directory.public_pem(directory.signing)),
        "unknown key id": directory.sign(good, kid="k9", key=stranger),
        "no key id": directory.sign(good, kid=None, key=directory.keys[directory.signing]),
        "another's signature": directory.sign(good, kid=directory.signing, key=stranger),
        "truncated": token[:-20],
        "without its signature": f"{head}.{body}.",
        "changed claims": f"{head}.{_part(good | {'roles': ['operator', 'board']})}.{signature}",
        "no expiry": directory.token(role, exp=None),
        "no not-before": directory.token(role, nbf=None),
        "no object": directory.token(role, oid=None),
        "an object that is no id": directory.token(role, oid="ada"),
        "an ID token": directory.token(role, azp=None, scp=None),
        "an ID token that names its client": directory.token(role, scp=None),
        "expiry that is no number": directory.token(role, exp="never"),
        "expiry that is no time": directory.token(role, exp=float("nan")),
        "expiry at the end of days": directory.token(role, exp=10**400),
        "not a token": "a.b.c",
        "endless": directory.token(role, padding="x" * 40_000),
    }
