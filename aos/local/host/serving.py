"""What the front end serves at the moment: one version of the app, none yet, or none until it is mended."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aos.local.host.supervisor import Supervisor
from aos.local.host.throttle import Throttle

if TYPE_CHECKING:
    from aos.local.host.web import RouteTable


class AppUnavailableError(Exception):
    """The app as it is on disk cannot be loaded; the message says why."""


@dataclass(frozen=True, slots=True)
class Site:
    """One version of the app as HTTP sees it; `headers` go with every response of its functions."""

    supervisor: Supervisor
    table: "RouteTable"
    headers: Mapping[str, str]
    throttle: Throttle


class Serving:
    """Hands out the site; who asks while the app is being loaded waits."""

    def __init__(self) -> None:
        self._site: Site | None = None
        self._changed = asyncio.Event()
        self.refusal: str | None = None

    def put(self, site: Site) -> None:
        """Serve this one from now on."""
        self._site, self.refusal = site, None
        self._changed.set()

    def suspend(self) -> None:
        """Let requests wait for the next site."""
        self._site, self.refusal = None, None
        self._changed.clear()

    def refuse(self, reason: str) -> None:
        """Refuse requests until there is a site."""
        self._site, self.refusal = None, reason
        self._changed.set()

    async def site(self) -> Site:
        """The site, with a worker that can take a request; `AppUnavailableError` when there is none."""
        await self._changed.wait()
        if self._site is None:
            raise AppUnavailableError(self.refusal or "the app is being loaded")
        site = self._site
        await site.supervisor.ready()
        return site if site is self._site else await self.site()
