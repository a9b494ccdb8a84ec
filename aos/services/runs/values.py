"""Values of a run: small ones lie in rows, large ones are kept apart under the hash of their content."""

from __future__ import annotations

import json
from typing import Any

from aos.kernel.canonical import encode
from aos.services.storage import layout
from aos.services.storage.ports import Blobs, Ref

CONTAINER = layout.VALUES
INLINE_BYTES = 32 * 1024


class Values:
    """Keeps JSON values for runs; ``keep`` gives what a row holds in a value's place."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    async def keep(self, run: str, value: Any) -> dict[str, Any]:
        """Return ``{"value": ...}``, or ``{"sha256", "size"}`` of a large value put away for the run."""
        if len(encode(value)) <= INLINE_BYTES:
            return {"value": value}
        return await self.put_away(run, value)

    async def put_away(self, run: str, value: Any) -> dict[str, Any]:
        """Return ``{"sha256", "size"}`` of the value, whatever its size."""
        ref = await self._blobs.put(CONTAINER, run, encode(value))
        return {"sha256": ref.sha256, "size": ref.size}

    async def load(self, run: str, kept: dict[str, Any]) -> Any:
        """Return the value that ``keep`` took."""
        if "value" in kept:
            return kept["value"]
        return json.loads(await self._blobs.get(CONTAINER, run, Ref(kept["sha256"], kept["size"])))
