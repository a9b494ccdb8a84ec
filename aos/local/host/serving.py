"""What the front end serves at the moment: one version of the app, none yet, or none until it is mended."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from aos.local.host.cors import Cors
from aos.local.host.functions import Function
from aos.local.host.management import Management
from aos.local.host.routetable import RouteTable
from aos.local.host.supervisor import Supervisor
from aos.local.host.throttle import Throttle


class AppUnavailableError(Exception):
    """The app as it is on disk cannot be loaded; the message says why."""


@dataclass(frozen=True, slots=True)
class Site:
    """One version of the app as HTTP sees it.

    `homepage` answers a request for the root that no function takes. `headers` go with every response of
    its functions; `largest_body` is in bytes; `run_by_hand` runs one that is not called by HTTP with an
    input, and does not wait for its end (`BadRequest` when it cannot be run so).
    """

    supervisor: Supervisor
    functions: Sequence[Function]
    route_prefix: str
    table: RouteTable
    homepage: bool
    headers: Mapping[str, str]
    throttle: Throttle
    largest_body: int
    cors: Cors
    management: Management
    run_by_hand: Callable[[Function, str], None]


class Serving:
    """Hands out the site; who asks while the app is being loaded waits."""

    def __init__(self) -> None:
        self._site: Site | None = None
        self._changed = asyncio.Event()
        self.refusal: str | None = None
        self.cors = Cors()

    @property
    def current(self) -> Site | None:
        """The site, if there is one now."""
        return self._site

    def put(self, site: Site) -> None:
        """Serve this one from now on."""
        self._site, self.refusal, self.cors = site, None, site.cors
        self._changed.set()

    def suspend(self) -> None:
        """Let requests wait for the next site."""
        self._site, self.refusal = None, None
        self._changed.clear()

    def refuse(self, reason: str) -> None:
        """Refuse requests until there is a site."""
        self._site, self.refusal = None, reason
        self._changed.set()

    async def loaded(self) -> Site:
        """The site, be there a worker or not; `AppUnavailableError` when the app cannot be loaded."""
        await self._changed.wait()
        if self._site is None:
            raise AppUnavailableError(self.refusal or "the app is being loaded")
        return self._site

    async def site(self) -> Site:
        """The site, with a worker that can take a request; `AppUnavailableError` when there is none."""
        site = await self.loaded()
        await site.supervisor.ready()
        return site if site is self._site else await self.site()
