"""The audit: the keys that its signatures verify with."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from aos.api.access import Served, Viewer
from aos.api.problems import problem_responses

router = APIRouter(prefix="/audit", tags=["audit"])

_PEM = "application/x-pem-file"


@router.get(
    "/key",
    response_class=Response,
    responses={200: {"content": {_PEM: {"schema": {"type": "string"}}}}, **problem_responses(401, 403)},
)
async def get_audit_key(system: Served, _: Viewer) -> Response:
    """Return the public key of the checkpoints' signatures, as PEM. Keep it apart from any dossier.

    After a rotation of the key there are several, the current one first: earlier signatures verify too.
    """
    return Response(await system.keyring.public_keys(), media_type=_PEM)
