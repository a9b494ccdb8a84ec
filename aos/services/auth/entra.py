"""Bearer tokens of Microsoft Entra ID: of people, and of applications and managed identities.

Checked as Microsoft's "Access tokens in the Microsoft identity platform" asks: signature by a key of the
tenant, algorithm, issuer, audience, tenant, expiry and not-before. An ID token, which says the same of the
same person to the application that she signed in to, opens nothing: it names no client, and no scope.
Roles are the app roles that the directory assigned, under AOS's own names (``operator``, ``approver``,
``viewer``, or the application's).
"""

from __future__ import annotations

import re
import ssl
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import jwt

from aos.kernel.errors import Unauthenticated
from aos.kernel.ids import ID_PATTERN
from aos.services.auth.principal import Principal
from aos.services.auth.signing_keys import SigningKeys

PUBLIC_CLOUD = "https://login.microsoftonline.com"
SKEW_S = 60.0
"""How far the clocks of the issuer and of this machine may be apart."""
_ALGORITHM = "RS256"
_LAST_S = 2**53
_MOST_CHARACTERS = 32 * 1024
_REQUIRED = ["exp", "nbf", "iss", "aud", "tid", "oid"]
_CHINA = ("https://login.partner.microsoftonline.cn", "https://sts.chinacloudapi.cn")
ISSUERS = {
    PUBLIC_CLOUD: (PUBLIC_CLOUD, "https://sts.windows.net"),
    "https://login.microsoftonline.us": ("https://login.microsoftonline.us", "https://sts.windows.net"),
    "https://login.partner.microsoftonline.cn": _CHINA,
    "https://login.chinacloudapi.cn": _CHINA,
}
"""Who issues the tokens of version 2 and of version 1, where one signs in to each of Microsoft's clouds."""


class EntraTokens:
    """Accepts the access tokens that one directory issued for one application. For one event loop.

    ``directory`` is the directory's (tenant's) id; ``audience`` the application's client id, whose
    ``api://`` form is accepted too; ``tenant`` whose principals the holders become.
    """

    def __init__(
        self,
        *,
        directory: str,
        audience: str,
        tenant: str,
        clock: Callable[[], float],
        authority: str = PUBLIC_CLOUD,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        authority = authority.rstrip("/")
        self._directory = directory
        self._audiences = {audience, f"api://{audience}"}
        version_2, version_1 = ISSUERS.get(authority, (authority, authority))
        self._issuers = (f"{version_2}/{directory}/v2.0", f"{version_1}/{directory}/")
        self._tenant = tenant
        self._clock = clock
        self._keys = SigningKeys(f"{authority}/{directory}/discovery/v2.0/keys", clock=clock, tls=tls)

    async def authenticate(self, token: str) -> Principal:
        """Return who holds the token.

        Raises:
            Unauthenticated: the token is not valid here; says in what.
            Unavailable: the directory's keys cannot be fetched.
        """
        claims = await self._verified(token)
        self._check_times(claims)
        if claims["iss"] not in self._issuers or claims["tid"] != self._directory:
            raise _refused("it was not issued by the directory of this service")
        if not _is_for_access(claims):
            raise _refused("it is no access token")
        holder = _object_id(claims)
        return Principal(
            id=holder,
            name=_name(claims) or holder,
            tenant=self._tenant,
            roles=frozenset(_roles(claims.get("roles", []))),
        )

    async def close(self) -> None:
        """Disconnect."""
        await self._keys.close()

    async def _verified(self, token: str) -> Mapping[str, Any]:
        """The claims of a token that the directory signed for this audience."""
        if len(token) > _MOST_CHARACTERS:
            raise _refused("it is too long")
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError:
            raise _refused("it is malformed") from None
        if header.get("alg") != _ALGORITHM:
            raise _refused(f"its algorithm is not {_ALGORITHM}")
        key = await self._keys.get(str(header.get("kid", "")))
        if key is None:
            raise _refused("it is not signed with a key of the directory")
        try:
            claims: Mapping[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[_ALGORITHM],
                audience=self._audiences,
                options={
                    "require": _REQUIRED,
                    # Against this object's own clock, below.
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except jwt.InvalidSignatureError:
            raise _refused("its signature does not verify") from None
        except jwt.InvalidAudienceError:
            raise _refused("it is meant for another audience") from None
        except jwt.MissingRequiredClaimError as error:
            raise _refused(f"it has no claim {error.claim}") from None
        except jwt.PyJWTError:
            raise _refused("it is malformed") from None
        return claims

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        expires, begins = claims["exp"], claims["nbf"]
        if not (_is_time(expires) and _is_time(begins)):
            raise _refused("it is malformed")
        now = self._clock()
        if now >= expires + SKEW_S:
            raise _refused("it has expired")
        if now < begins - SKEW_S:
            raise _refused("it is not valid yet")


def _is_time(value: Any) -> bool:
    """Whether it is a number of seconds that can come; NaN would never be over."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LAST_S


def _refused(why: str) -> Unauthenticated:
    return Unauthenticated(f"the bearer token is not valid: {why}")


def _is_for_access(claims: Mapping[str, Any]) -> bool:
    """Whether a client was given it to call with: for a person within a scope, or for itself."""
    if not isinstance(claims.get("azp", claims.get("appid")), str):
        return False
    if claims.get("scp"):
        return True
    return claims.get("idtyp") == "app" or claims.get("sub") == claims["oid"]


def _object_id(claims: Mapping[str, Any]) -> str:
    """Who this is for good: names change, and go to others."""
    try:
        return str(uuid.UUID(claims["oid"]))
    except (ValueError, AttributeError, TypeError):
        raise _refused("its claim oid is malformed") from None


def _name(claims: Mapping[str, Any]) -> str | None:
    """Who this is for people: a sign-in name; for an application or a managed identity its client id."""
    for claim in ("preferred_username", "upn", "unique_name", "azp", "appid"):
        value = claims.get(claim)
        if isinstance(value, str) and value.isprintable() and 0 < len(value) <= 200:
            return value
    return None


def _roles(value: Any) -> list[str]:
    """The roles that AOS can know; the directory may assign others, which mean nothing here."""
    listed = value if isinstance(value, list) else []
    return [each for each in listed if isinstance(each, str) and re.fullmatch(ID_PATTERN, each)]
