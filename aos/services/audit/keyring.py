"""The port to the keys that sign the audit."""

from __future__ import annotations

from typing import Protocol

from aos.kernel.governance.audit.checkpoint import Signer


class Keyring(Protocol):
    """The key that signs now, and those that did before: what they signed must verify for ever."""

    async def signer(self) -> Signer:
        """Return the key that signs now.

        Raises:
            Unavailable: it is across the network, and does not answer.
        """
        ...

    async def public_keys(self) -> bytes:
        """Return the public keys, one after the other in PEM, the current one first.

        Raises:
            Unavailable: as above.
        """
        ...
