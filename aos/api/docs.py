"""The description of the API for people: Swagger UI, its files served from here."""

from __future__ import annotations

from importlib.resources import files

from fastapi import APIRouter
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response

from aos.kernel.errors import NotFound

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>AOS API</title>
<link rel="stylesheet" href="/docs/assets/swagger-ui.css">
<link rel="icon" href="/docs/assets/favicon-32x32.png">
</head>
<body>
<div id="api"></div>
<script src="/docs/assets/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
_SCRIPT = """SwaggerUIBundle({url: "/openapi.json", dom_id: "#api", deepLinking: true, validatorUrl: null});
"""
_ASSETS = ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png")
_FOLDER = files("fastapi_swagger") / "resources"
_KEPT = {"Cache-Control": "public, max-age=3600", "X-Content-Type-Options": "nosniff"}
_ONLY_OURS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
}

router = APIRouter(include_in_schema=False)


@router.get("/")
async def root() -> Response:
    """Lead people to the description."""
    return RedirectResponse("/docs")


@router.get("/docs")
async def docs() -> Response:
    """Answer with the page."""
    return HTMLResponse(_PAGE, headers=_ONLY_OURS)


@router.get("/docs/start.js")
async def start() -> Response:
    """Answer with the script that starts the page: apart, so that inline scripts can be forbidden."""
    return Response(_SCRIPT, media_type="text/javascript", headers=_ONLY_OURS)


@router.get("/docs/assets/{name}")
async def asset(name: str) -> Response:
    """Answer with a file of Swagger UI."""
    if name not in _ASSETS:
        raise NotFound(f"there is no file {name!r} here")
    return FileResponse(str(_FOLDER / name), headers=_KEPT)
