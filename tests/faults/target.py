"""The outside world that tools change: a server that counts what is asked of it, and what it did.

`python target.py PORT_FILE`. `POST /honest` honours the idempotency key: the effect of a key happens
once, later calls get the first answer. `POST /blind` ignores the key. What a call asks for besides:
`fail_first` refuses so many calls of the key, `hang_first` lets so many calls hang after their effect.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from aiohttp import web

_HANG_S = 30.0


class Target:
    """Calls, and the effects that came of them, by key."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.seen: Counter[str] = Counter()
        self.done: dict[str, Any] = {}

    async def honest(self, request: web.Request) -> web.Response:
        return await self._call(await request.json(), honours=True)

    async def blind(self, request: web.Request) -> web.Response:
        return await self._call(await request.json(), honours=False)

    async def _call(self, asked: dict[str, Any], *, honours: bool) -> web.Response:
        key = asked["key"]
        self.seen[key] += 1
        refused = self.seen[key] <= asked.get("fail_first", 0)
        effect = not refused and not (honours and key in self.done)
        self.calls.append({**asked, "effect": effect})
        if refused:
            return web.json_response({"error": "not now"}, status=503)
        if effect:
            self.done[key] = {"receipt": key, "number": len(self.done) + 1}
        if self.seen[key] <= asked.get("hang_first", 0):
            await asyncio.sleep(_HANG_S)
        return web.json_response(self.done[key])

    async def effect(self, request: web.Request) -> web.Response:
        return web.json_response(self.done.get(request.match_info["key"]))

    async def calls_of(self, request: web.Request) -> web.Response:
        run = request.match_info["run"]
        return web.json_response([call for call in self.calls if call["run"] == run])


async def main(port_file: Path) -> None:
    target, app = Target(), web.Application()
    app.router.add_post("/honest", target.honest)
    app.router.add_post("/blind", target.blind)
    app.router.add_get("/effects/{key}", target.effect)
    app.router.add_get("/calls/{run}", target.calls_of)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    scratch = port_file.with_suffix(".tmp")
    scratch.write_text(str(runner.addresses[0][1]))
    scratch.rename(port_file)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
