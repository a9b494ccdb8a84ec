"""From settings to a model client; the only place that knows every provider."""

from __future__ import annotations

from typing import Literal, assert_never
from urllib.parse import urlsplit

from pydantic import SecretStr

from aos.kernel.errors import InvalidSetting
from aos.services.inference.mock.client import MockModelClient
from aos.services.inference.openai_compatible.keys import (
    FixedKey,
    IdentityToken,
    ModelKeys,
    header_value,
)
from aos.services.inference.ports import ModelClient

type Provider = Literal["mock", "openai"]

KEYLESS = "no-key-configured"
"""What is sent as the key to an endpoint that asks for none; the SDK insists on some text."""


def make_model_client(
    provider: Provider,
    *,
    model: str | None = None,
    base_url: str | None = None,
    api_key: SecretStr | None = None,
    keys: ModelKeys | None = None,
    api_version: str | None = None,
) -> ModelClient:
    """Make the configured client; `openai` imports its libraries only now (over a second).

    ``keys`` give the key of each request where it is not the same for ever.

    Raises:
        InvalidSetting: `openai` lacks what it needs.
    """
    match provider:
        case "mock":
            return MockModelClient()
        case "openai":
            return _openai(
                model, base_url, keys or (FixedKey(_fixed(api_key)) if api_key else None), api_version
            )
        case _:
            assert_never(provider)


def _openai(
    model: str | None, base_url: str | None, keys: ModelKeys | None, api_version: str | None
) -> ModelClient:
    if not model:
        raise InvalidSetting("AOS_MODEL is missing: the provider `openai` needs a model or deployment name")
    if base_url is None and keys is None:
        raise InvalidSetting(
            "AOS_MODEL_API_KEY is missing: OpenAI needs a key; another endpoint is set by AOS_MODEL_BASE_URL"
        )
    if base_url is None and isinstance(keys, IdentityToken):
        raise InvalidSetting("AOS_MODEL_BASE_URL is missing: AOS_MODEL_AUTH=identity is for Azure OpenAI")
    if base_url is None and api_version is not None:
        raise InvalidSetting("AOS_MODEL_BASE_URL is missing: an api-version is of an Azure endpoint")
    if base_url is not None:
        _check_url(base_url)
    from aos.services.inference.openai_compatible.client import OpenAICompatibleClient  # noqa: PLC0415

    return OpenAICompatibleClient(
        model=model, keys=keys or FixedKey(KEYLESS), base_url=base_url, api_version=api_version
    )


def _check_url(base_url: str) -> None:
    told = "AOS_MODEL_BASE_URL must be an http or https URL without credentials in it"
    try:
        url = urlsplit(base_url)
    except ValueError as error:
        raise InvalidSetting(told) from error
    if url.scheme not in ("http", "https") or not url.hostname or "@" in url.netloc:
        raise InvalidSetting(told)


def _fixed(api_key: SecretStr) -> str:
    return header_value(api_key, "AOS_MODEL_API_KEY")
