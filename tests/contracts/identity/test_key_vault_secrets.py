"""Secrets in a vault, over the real SDK and TLS, and the model's key among them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from key_vault import TOKEN, Identity, Vault
from tls_server import listening

from aos.kernel.errors import InvalidSetting, Unavailable
from aos.services.environment.secrets import KNOWN_S, VaultSecret
from aos.services.governance.key_vault import VaultAccess
from aos.services.inference import Message, ModelRejected, Role
from aos.services.inference.openai_compatible.client import OpenAICompatibleClient
from aos.services.inference.openai_compatible.keys import AZURE_AI_SCOPE, IdentityToken, ModelKeys, VaultKey

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAME = "model-api-key"
SETTING = "AOS_MODEL_API_KEY_SECRET"


@pytest_asyncio.fixture(loop_scope="module")
async def secret(vault: Vault, access: VaultAccess, clock) -> AsyncIterator[VaultSecret]:
    secret = VaultSecret(
        f"{vault.url}/secrets/{NAME}", access.credential, setting=SETTING, clock=clock, options=access.options
    )
    yield secret
    await secret.close()


async def test_a_secret_is_read_once_in_five_minutes_and_again_when_it_is_distrusted(
    vault: Vault, secret: VaultSecret, clock
):
    vault.set_secret(NAME, "first")
    values = await asyncio.gather(*(secret.value() for _ in range(10)))
    assert {value.get_secret_value() for value in values} == {"first"}
    assert vault.read == 1
    vault.set_secret(NAME, "second")
    assert (await secret.value()).get_secret_value() == "first"
    secret.distrust(values[0])
    assert (await secret.value()).get_secret_value() == "second"
    secret.distrust(values[0])  # another coroutine, later: the new value is not doubted for it
    await secret.value()
    assert vault.read == 2
    vault.set_secret(NAME, "third")
    clock.ahead_s = KNOWN_S
    assert (await secret.value()).get_secret_value() == "third"


async def test_while_the_vault_does_not_answer_the_last_value_serves_on(
    vault: Vault, secret: VaultSecret, clock
):
    vault.failing = 503
    with pytest.raises(Unavailable, match=f"{SETTING}: .*{NAME} cannot be read"):
        await secret.value()
    vault.failing = None
    vault.set_secret(NAME, "known")
    await secret.value()
    vault.failing, clock.ahead_s = 403, 10 * KNOWN_S
    assert (await secret.value()).get_secret_value() == "known"
    vault.failing = None
    vault.set_secret(NAME, "disabled").enabled = False
    assert (await secret.value()).get_secret_value() == "known"


async def test_a_secret_that_is_missing_or_empty_is_a_wrong_setting(vault: Vault, secret: VaultSecret):
    with pytest.raises(InvalidSetting, match=f"{SETTING}: there is no secret"):
        await secret.value()
    vault.set_secret(NAME, "")
    with pytest.raises(InvalidSetting, match="is empty"):
        await secret.value()


class Endpoint:
    """Chat completions for whoever has the key."""

    def __init__(self, key: str) -> None:
        self.key, self.seen = key, list[str]()
        self.app = FastAPI(openapi_url=None)
        self.app.post("/v1/chat/completions")(self.complete)

    async def complete(self, request: Request) -> JSONResponse:
        await request.body()
        given = request.headers["authorization"]
        self.seen.append(given)
        if given != f"Bearer {self.key}":
            return JSONResponse({"error": {"message": f"no such key: {given}"}}, 401)
        message = {"role": "assistant", "content": "yes"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return JSONResponse(
            {"id": "c", "object": "chat.completion", "created": 1, "model": "gpt-4o", "choices": [choice],
             "usage": usage}
        )  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def endpoint() -> AsyncIterator[tuple[Endpoint, str]]:
    endpoint = Endpoint("sk-good")
    with listening() as listener:
        server = uvicorn.Server(uvicorn.Config(endpoint.app, log_level="critical", lifespan="off"))
        task = asyncio.create_task(server.serve([listener]))
        while not server.started:
            await asyncio.sleep(0.005)
        yield endpoint, f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        server.should_exit = True
        await task


async def ask(url: str, keys: ModelKeys) -> str:
    client = OpenAICompatibleClient(model="gpt-4o", keys=keys, base_url=url)
    try:
        reply = await client.complete(
            [Message(Role.USER, "?")], [], model=None, output_schema=None, max_output_tokens=10, timeout_s=30
        )
    finally:
        await client.close()
    return reply.text


async def test_a_models_key_that_was_rotated_is_read_again_within_the_call(
    vault: Vault, secret: VaultSecret, endpoint: tuple[Endpoint, str]
):
    model, url = endpoint
    model.key, model.seen = "sk-good", []
    vault.set_secret(NAME, "sk-old")
    await secret.value()
    vault.set_secret(NAME, "sk-good")
    assert await ask(url, VaultKey(secret)) == "yes"
    assert model.seen == ["Bearer sk-old", "Bearer sk-good"]


async def test_a_models_key_that_is_wrong_is_refused_and_never_shown(
    vault: Vault, secret: VaultSecret, endpoint: tuple[Endpoint, str], caplog: pytest.LogCaptureFixture
):
    model, url = endpoint
    model.key = "sk-another"
    vault.set_secret(NAME, "sk-wrong-0123456789")
    with caplog.at_level(logging.DEBUG), pytest.raises(ModelRejected) as refusal:
        await ask(url, VaultKey(secret))
    assert "sk-wrong" not in str(refusal.value)
    assert "sk-wrong" not in caplog.text
    assert "sk-wrong" not in repr(await secret.value())


async def test_azure_openai_is_asked_with_a_token_of_the_identity(
    identity: Identity, endpoint: tuple[Endpoint, str]
):
    model, url = endpoint
    model.key = TOKEN
    assert await ask(url, IdentityToken(identity)) == "yes"
    assert identity.scopes == [AZURE_AI_SCOPE]
