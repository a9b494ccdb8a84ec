"""The endpoint from which a process in Azure Functions takes tokens of its managed identity."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import jwt
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from key_vault import TOKEN

CLIENT_ID = "5b0a6a2e-90a5-4e0c-8c7b-3b0d1c9f7a10"
SECRET = "given-by-the-platform"
STORAGE = "https://storage.azure.com"


@dataclass
class ManagedIdentity:
    """Answers as App Service does; ``asked`` is for which resources."""

    asked: list[str] = field(default_factory=list)

    @property
    def app(self) -> FastAPI:
        """The endpoint as an ASGI app."""
        app = FastAPI(openapi_url=None)

        @app.get("/msi/token")
        async def token(request: Request) -> Any:
            query = request.query_params
            if request.headers.get("x-identity-header") != SECRET or query.get("client_id") != CLIENT_ID:
                return JSONResponse({"message": "no such identity"}, 400)
            resource = query["resource"]
            self.asked.append(resource)
            expires = int(time.time()) + 24 * 3600
            return {
                "access_token": _storage_token(expires) if resource == STORAGE else TOKEN,
                "expires_on": str(expires),
                "resource": resource,
                "token_type": "Bearer",
                "client_id": CLIENT_ID,
            }

        return app


def _storage_token(expires: int) -> str:
    """What the storage emulator looks at; it knows no signatures."""
    now = int(time.time())
    claims = {
        "aud": STORAGE,
        "iss": "https://sts.windows.net/8f6f3d0e-6a3f-4a0e-9a57-2f1f3a9f6f01/",
        "iat": now,
        "nbf": now - 60,
        "exp": expires,
    }
    return jwt.encode(claims, "x" * 32, algorithm="HS256")
