"""From settings to a client, at the cost of what is configured only."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from pydantic import SecretStr

from aos.kernel.errors import InvalidSetting
from aos.services.inference import make_model_client


def test_the_default_provider_imports_neither_the_framework_nor_the_sdk() -> None:
    probe = (
        "import sys; from aos.services.inference import make_model_client; make_model_client('mock'); "
        "print(*{'agent_framework', 'openai', 'httpx2'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == ""


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"api_key": SecretStr("k")}, "AOS_MODEL is missing"),
        ({"model": "gpt-4o"}, "AOS_MODEL_API_KEY is missing"),
        ({"model": "gpt-4o", "api_key": SecretStr("")}, "AOS_MODEL_API_KEY is missing"),
        (
            {"model": "gpt-4o", "api_key": SecretStr("k"), "api_version": "2024-10-21"},
            "AOS_MODEL_BASE_URL is missing",
        ),
        ({"model": "m", "base_url": "localhost:8000"}, "AOS_MODEL_BASE_URL must be"),
        ({"model": "m", "base_url": "http://[bad"}, "AOS_MODEL_BASE_URL must be"),
        ({"model": "m", "base_url": "https://user:pw@models.example"}, "AOS_MODEL_BASE_URL must be"),
        ({"model": "m", "api_key": SecretStr("sk-secret\n")}, "AOS_MODEL_API_KEY holds white space"),
    ],
)
def test_openai_names_the_setting_that_it_lacks(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidSetting, match=named) as caught:
        make_model_client("openai", **settings)
    assert not any(secret in caught.value.message for secret in ("sk-secret", "user:pw"))


async def test_an_endpoint_of_ones_own_needs_no_key() -> None:
    client = make_model_client("openai", model="llama", base_url="http://127.0.0.1:9/v1")
    assert (client.provider, client.default_model) == ("openai", "llama")
    assert (client.model_for(None), client.model_for("qwen")) == ("llama", "qwen")
    await client.close()
