"""From settings to a model client; the only place that knows every provider."""

from __future__ import annotations

from typing import Literal, assert_never

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
    from aos.services.inference.openai_compatible.client import OpenAICompatibleClient  # noqa: PLC0415

    return OpenAICompatibleClient(
        model=model,
        api_key=api_key.get_secret_value() if api_key else KEYLESS,
        base_url=base_url,
        api_version=api_version,
    )
