"""Cross-origin requests, as Core Tools allows them by `Host.CORS` of local.settings.json."""

from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

_ANY = "*"


@dataclass(frozen=True, slots=True)
class Cors:
    """The origins that browsers may call from, and whether with cookies and the like."""

    origins: tuple[str, ...] = ()
    credentials: bool = False

    def headers(self, request: web.BaseRequest) -> dict[str, str]:
        """What the answer to this request tells a browser."""
        origin = request.headers.get("Origin")
        if not self.origins or origin is None:
            return {}
        if self.origins == (_ANY,):
            return {"Access-Control-Allow-Origin": _ANY}
        vary = {"Vary": "Origin"} if len(self.origins) > 1 else {}
        if origin.lower() not in self.origins:
            return vary
        credentials = {"Access-Control-Allow-Credentials": "true"} if self.credentials else {}
        return {"Access-Control-Allow-Origin": origin, **credentials, **vary}

    def preflight(self, request: web.BaseRequest) -> web.Response | None:
        """The answer to a browser that asks before it calls; `None` when it does not, or nobody may."""
        method = request.headers.get("Access-Control-Request-Method")
        if not self.origins or request.method != "OPTIONS" or method is None:
            return None
        if "Origin" not in request.headers:
            return None
        headers = self.headers(request)
        if "Access-Control-Allow-Origin" in headers:
            headers["Access-Control-Allow-Methods"] = method
            asked = request.headers.get("Access-Control-Request-Headers")
            headers |= {"Access-Control-Allow-Headers": asked} if asked else {}
        return web.Response(status=204, headers=headers)


def read_cors(host: Mapping[str, object]) -> Cors:
    """The section `Host` of local.settings.json; `ValueError` says what is wrong with it."""
    listed, credentials = host.get("CORS", ""), host.get("CORSCredentials", False)
    if not isinstance(listed, str):
        raise ValueError("Host.CORS must be a text: origins separated by commas")  # noqa: TRY004
    if not isinstance(credentials, bool):
        raise ValueError("Host.CORSCredentials must be true or false")  # noqa: TRY004
    origins = tuple(each.strip().rstrip("/").lower() for each in listed.split(",") if each.strip())
    if _ANY in origins and len(origins) > 1:
        raise ValueError("Host.CORS must be either * or a list of origins")
    if _ANY in origins and credentials:
        raise ValueError("Host.CORSCredentials cannot be true when Host.CORS is *: browsers refuse that")
    return Cors(origins, credentials)
