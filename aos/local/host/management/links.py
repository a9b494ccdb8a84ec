"""The URLs of the management API that an app hands to its clients."""

from dataclasses import dataclass, replace
from urllib.parse import quote

from aiohttp import web

PATH = "/runtime/webhooks/durabletask"


@dataclass(frozen=True, slots=True)
class Links:
    """URLs below an origin such as `http://127.0.0.1:7071`, each with the same query.

    With `forwarded` the origin is the one that a proxy says it was called by.
    """

    origin: str
    query: str
    forwarded: bool = False

    @property
    def base(self) -> str:
        """Where the API begins, without a trailing slash."""
        return self.origin + PATH

    def seen_by(self, request: web.BaseRequest) -> "Links":
        """The same below the origin by which this request reached the host."""
        return replace(self, origin=origin_of(request, forwarded=self.forwarded))

    def of_instance(self, instance_id: str) -> dict[str, str]:
        """What can be done with an instance, under the names of the extension."""
        instance = f"{self.base}/instances/{quote(instance_id, safe='')}"
        plain = f"{instance}?{self.query}"
        return {
            "id": instance_id,
            "statusQueryGetUri": plain,
            "sendEventPostUri": f"{instance}/raiseEvent/{{eventName}}?{self.query}",
            "terminatePostUri": f"{instance}/terminate?reason={{text}}&{self.query}",
            "rewindPostUri": f"{instance}/rewind?reason={{text}}&{self.query}",
            "purgeHistoryDeleteUri": plain,
            "restartPostUri": f"{instance}/restart?{self.query}",
            "suspendPostUri": f"{instance}/suspend?reason={{text}}&{self.query}",
            "resumePostUri": f"{instance}/resume?reason={{text}}&{self.query}",
        }

    def of_creation(self) -> dict[str, str]:
        """How an instance is started."""
        start = f"{self.base}/orchestrators/{{functionName}}[/{{instanceId}}]"
        waiting = "timeout={timeoutInSeconds}&pollingInterval={intervalInSeconds}"
        return {
            "createNewInstancePostUri": f"{start}?{self.query}",
            "createAndWaitOnNewInstancePostUri": f"{start}?{waiting}&{self.query}",
        }


def origin_of(request: web.BaseRequest, *, forwarded: bool = False) -> str:
    """Scheme, host and port of a request; those that a proxy names, if it is to be believed."""
    scheme, host = request.scheme, request.host
    if forwarded:
        scheme = _first(request, "X-Forwarded-Proto") or scheme
        host = _first(request, "X-Forwarded-Host") or host
    return f"{scheme}://{host}"


def _first(request: web.BaseRequest, header: str) -> str:
    return request.headers.get(header, "").partition(",")[0].strip()
