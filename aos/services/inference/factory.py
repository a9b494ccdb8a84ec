"""From settings to a model client; the only place that knows every provider."""

from __future__ import annotations

from typing import Literal, assert_never
from urllib.parse import urlsplit

from pydantic import SecretStr

from aos.kernel.errors import InvalidSetting
from aos.services.inference.mock.client import MockModelClient
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
    api_version: str | None = None,
) -> ModelClient:
    """Make the configured client; `openai` imports its libraries only now (over a second).

    Raises:
        InvalidSetting: `openai` lacks what it needs.
    """
    match provider:
        case "mock":
            return MockModelClient()
        case "openai":
            return _openai(model, base_url, api_key, api_version)
        case _:
            assert_never(provider)


def _openai(
    model: str | None, base_url: str | None, api_key: SecretStr | None, api_version: str | None
) -> ModelClient:
    if not model:
        raise InvalidSetting("AOS_MODEL is missing: the provider `openai` needs a model or deployment name")
    if base_url is None and not api_key:
        raise InvalidSetting(
            "AOS_MODEL_API_KEY is missing: OpenAI needs a key; another endpoint is set by AOS_MODEL_BASE_URL"
        )
    if base_url is None and api_version is not None:
        raise InvalidSetting("AOS_MODEL_BASE_URL is missing: an api-version is of an Azure endpoint")
    if base_url is not None:
        _check_url(base_url)
    from aos.services.inference.openai_compatible.client import OpenAICompatibleClient  # noqa: PLC0415

    return OpenAICompatibleClient(
        model=model,
        api_key=_header_value(api_key) if api_key else KEYLESS,
        base_url=base_url,
        api_version=api_version,
    )


def _check_url(base_url: str) -> None:
    told = "AOS_MODEL_BASE_URL must be an http or https URL without credentials in it"
    try:
        url = urlsplit(base_url)
    except ValueError as error:
        raise InvalidSetting(told) from error
    if url.scheme not in ("http", "https") or not url.hostname or "@" in url.netloc:
        raise InvalidSetting(told)


def _header_value(api_key: SecretStr) -> str:
    # A key read from a file often ends in a line feed. The HTTP client would refuse the header at
    # every call, and repeat it, key and all, in its error.
    key = api_key.get_secret_value()
    if not all("!" <= character <= "~" for character in key):
        raise InvalidSetting("AOS_MODEL_API_KEY holds white space or characters beyond ASCII")
    return key
