"""The client: one reply of a model per call, with retries of what passes by itself."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Any

import agent_framework as af
import httpx2
from agent_framework.exceptions import ChatClientException
from agent_framework.observability import OBSERVABILITY_SETTINGS, ChatTelemetryLayer
from agent_framework_openai import RawOpenAIChatCompletionClient
from openai import AsyncAzureOpenAI, AsyncOpenAI, DefaultAsyncHttpxClient

from aos.kernel.agents.definition import Schema, ToolDefinition
from aos.services.inference.messages import Message, ModelReply
from aos.services.inference.openai_compatible import wire
from aos.services.inference.openai_compatible.faults import PROVIDER, NotACompletion, classify
from aos.services.inference.openai_compatible.keys import ModelKeys
from aos.services.inference.ports import ModelTruncated, ModelUnavailable
from aos.services.inference.tokens import input_bytes, tokens_for

OPENAI_URL = "https://api.openai.com/v1"
CONNECT_S = 5.0
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 20.0
_PLACEHOLDER = "placed-per-request"
"""The SDK insists on some text; the HTTP client below puts the key in its place."""

# What was said and answered never leaves by telemetry, whatever the framework's own variables ask for.
OBSERVABILITY_SETTINGS.enable_sensitive_data = False

BYTES_PER_TOKEN = 2
"""Text has 3 to 4 bytes a token, dense JSON down to about 2."""
TOKENS_PER_PART = 16
"""What a provider's framing adds to a message, a call, a tool or a schema, generously."""


class _ChatClient(
    ChatTelemetryLayer[Any],
    RawOpenAIChatCompletionClient[Any],
):
    """The framework's client with its `gen_ai.*` telemetry, and without the layer that calls functions."""


class _KeyedHttpClient(DefaultAsyncHttpxClient):
    """Puts the key into each request, and takes it out of error bodies before anything can log or raise them.

    Gateways are known to repeat the whole Authorization header in a 401.
    """

    def __init__(self, keys: ModelKeys) -> None:
        super().__init__()
        self._keys = keys

    async def send(self, request: httpx2.Request, **kwargs: Any) -> httpx2.Response:
        key = await self._keys.key()
        response = await super().send(_keyed(request, key), **kwargs)
        if response.status_code == HTTPStatus.UNAUTHORIZED and self._keys.refused(key):
            renewed = await self._keys.key()
            if renewed != key:
                await response.aclose()
                key, response = renewed, await super().send(_keyed(request, renewed), **kwargs)
        return await _redacted(response, key.encode())


def _keyed(request: httpx2.Request, key: str) -> httpx2.Request:
    """The request with the key where the SDK put its placeholder."""
    if "api-key" in request.headers:
        request.headers["api-key"] = key
    else:
        request.headers["Authorization"] = f"Bearer {key}"
    return request


async def _redacted(response: httpx2.Response, key: bytes) -> httpx2.Response:
    if not response.is_error or not key or key not in await response.aread():
        return response
    headers = [
        (name, value)
        for name, value in response.headers.multi_items()
        if name not in ("content-encoding", "content-length")
    ]
    content = response.content.replace(key, b"[redacted]")
    return httpx2.Response(response.status_code, headers=headers, content=content, request=response.request)


class OpenAICompatibleClient:
    """A `ModelClient` for the chat completions API.

    ``api_version`` selects Azure's versioned API, where ``base_url`` is the resource's endpoint.
    """

    provider = PROVIDER

    def __init__(
        self,
        *,
        model: str,
        keys: ModelKeys,
        base_url: str | None = None,
        api_version: str | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.default_model = model
        self._sdk = _sdk(keys, base_url, api_version)
        self._chat = _ChatClient(
            model=model,
            async_client=self._sdk,
            otel_provider_name="azure.ai.openai" if api_version else PROVIDER,
        )
        self._clock = clock
        self._sleep = sleep
        self._jitter = jitter

    def model_for(self, model: str | None) -> str:
        """Return the model that answers when ``model`` is asked for."""
        return model or self.default_model

    async def complete(
        self,
        messages: Sequence[Message],
        tools: Sequence[ToolDefinition],
        *,
        model: str | None,
        output_schema: Schema | None,
        max_output_tokens: int,
        timeout_s: float,
    ) -> ModelReply:
        """Ask for the next message; see `ModelClient.complete`."""
        name = self.model_for(model)
        deadline = self._clock() + timeout_s
        response = await self._answer(
            wire.conversation(messages),
            wire.options(name, tools, output_schema, max_output_tokens),
            deadline,
        )
        reply = wire.reply(response, name, self.count_tokens(messages, tools, output_schema))
        if reply.finish_reason == "length":
            raise ModelTruncated(reply, max_output_tokens)
        return reply

    def count_tokens(
        self,
        messages: Sequence[Message],
        tools: Sequence[ToolDefinition],
        output_schema: Schema | None = None,
    ) -> int:
        """Estimate from above: a token per two bytes of UTF-8, and sixteen for each part's framing."""
        calls = sum(len(message.tool_calls) for message in messages)
        parts = len(messages) + calls + len(tools) + (output_schema is not None)
        size = input_bytes(messages, tools, output_schema)
        return tokens_for(size, BYTES_PER_TOKEN) + TOKENS_PER_PART * (parts + 1)

    async def close(self) -> None:
        """Close the connections."""
        await self._sdk.close()

    async def _answer(
        self, messages: list[af.Message], options: dict[str, Any], deadline: float
    ) -> af.ChatResponse[Any]:
        attempt = 0
        while True:
            try:
                return await self._attempt(messages, options, deadline)
            except NotACompletion:
                raise
            except ModelUnavailable as fault:
                pause = self._pause(attempt, fault.retry_after_s)
                if self._clock() + pause >= deadline:
                    raise
            await self._sleep(pause)
            attempt += 1

    async def _attempt(
        self, messages: list[af.Message], options: dict[str, Any], deadline: float
    ) -> af.ChatResponse[Any]:
        try:
            async with asyncio.timeout(deadline - self._clock()):
                return await self._chat.get_response(messages, options=options)
        except TimeoutError as error:
            raise ModelUnavailable(f"{PROVIDER}: no answer in time", provider=PROVIDER) from error
        except ChatClientException as error:
            raise classify(error) from error

    def _pause(self, attempt: int, asked_s: float | None) -> float:
        longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0**attempt)
        backoff: float = longest * (1 + self._jitter()) / 2
        return max(backoff, asked_s or 0.0)


def _sdk(keys: ModelKeys, base_url: str | None, api_version: str | None) -> AsyncOpenAI:
    # The deadline of a call is ours; retries are ours; and OPENAI_BASE_URL must not redirect us.
    timeout = httpx2.Timeout(None, connect=CONNECT_S)
    http = _KeyedHttpClient(keys)
    if api_version is None:
        return AsyncOpenAI(
            api_key=_PLACEHOLDER,
            base_url=base_url or OPENAI_URL,
            timeout=timeout,
            max_retries=0,
            http_client=http,
        )
    return AsyncAzureOpenAI(
        api_key=_PLACEHOLDER,
        azure_endpoint=base_url or "",
        api_version=api_version,
        timeout=timeout,
        max_retries=0,
        http_client=http,
    )
