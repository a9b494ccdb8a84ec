"""Who may do what: SAS tokens put to $cbs, and SASL PLAIN with the key itself.

Tokens are those of Azure: SharedAccessSignature sr=<uri>&sig=<hmac>&se=<expiry>&skn=<key name>, where the
signature is HMAC-SHA256 of "<sr as sent>\\n<se>" with the key.
"""

import base64
import hmac
from dataclasses import dataclass
from urllib.parse import unquote_plus, urlsplit

from aos.local.servicebus.clock import Clock
from aos.local.servicebus.errors import UnauthorizedError

_PREFIX = "SharedAccessSignature "


@dataclass(frozen=True, slots=True)
class Grant:
    """Access to everything under `path` (lower case; empty is the namespace) until `expires_ms`."""

    path: str
    expires_ms: int

    def covers(self, path: str, now_ms: int) -> bool:
        """Whether it allows the use of an entity now."""
        if self.expires_ms <= now_ms:
            return False
        wanted = path.lower()
        return not self.path or wanted == self.path or wanted.startswith(self.path + "/")


class Authority:
    """The one shared access key of the namespace."""

    def __init__(self, key_name: str, key: str, clock: Clock) -> None:
        self.key_name = key_name
        self.key = key
        self._clock = clock

    def grant(self, token: str) -> Grant:
        """What a SAS token allows. Raises UnauthorizedError."""
        if not token.startswith(_PREFIX):
            raise UnauthorizedError(
                "only shared access signatures can be checked here, not tokens of Microsoft Entra ID:"
                " connect with the connection string"
            )
        parts = dict(part.partition("=")[::2] for part in token.removeprefix(_PREFIX).split("&"))
        resource, expiry = parts.get("sr", ""), parts.get("se", "")
        digest = hmac.digest(self.key.encode(), f"{resource}\n{expiry}".encode(), "sha256")
        expected = base64.b64encode(digest)
        signature = unquote_plus(parts.get("sig", "")).encode()
        known = unquote_plus(parts.get("skn", "")) == self.key_name
        if not hmac.compare_digest(expected, signature) or not known:
            raise UnauthorizedError("the token's signature does not match the key")
        expires_ms = int(expiry) * 1000 if expiry.isdecimal() else 0
        if expires_ms <= self._clock.now_ms():
            raise UnauthorizedError("the token has expired")
        return Grant(entity_path(unquote_plus(resource)).lower(), expires_ms)

    def plain(self, response: bytes) -> bool:
        """Whether a SASL PLAIN response holds the key's name and the key."""
        parts = response.split(b"\0")
        mine = (self.key_name.encode(), self.key.encode())
        return len(parts) == 3 and all(map(hmac.compare_digest, parts[1:], mine))


def entity_path(address: str) -> str:
    """The entity's path in an address: `queue` in `sb://host:5672/queue` and in `/queue`."""
    return urlsplit(address).path.strip("/") if "://" in address else address.strip("/")
