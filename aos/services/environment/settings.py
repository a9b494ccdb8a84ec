"""The settings of AOS: ``AOS_*`` in the environment, and the Functions names for connections."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from aos.kernel.errors import InvalidSetting
from aos.kernel.ids import ID_PATTERN

_PREFIX = "AOS_"
_CLIENT_ONLY = frozenset({"AOS_URL", "AOS_KEY"})
"""Read by the command line as a client of the API, not by the app."""

Usd = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Settings(BaseSettings):
    """Everything that may differ between two deployments of the same code."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, extra="forbid", populate_by_name=True)

    application: str = "apps.leadership"
    """The module whose ``application`` is served."""
    tenant: str = Field(default="default", pattern=rf"^{ID_PATTERN}$")
    storage: Literal["local", "azure"] = "local"
    data: Path = Path(".aos")
    """The folder of the local storage and of the local signing key."""
    model: str = "mock"
    """``mock``, or the name of a model behind an OpenAI-compatible endpoint."""
    model_base_url: str | None = None
    model_api_key: SecretStr | None = None
    model_price_input: Price | None = None
    """US dollars for a million input tokens, for a model that the price table does not know."""
    model_price_output: Price | None = None
    tenant_budget_usd: Usd | None = None
    """The limit of all runs of the tenant together; None: no limit of its own."""
    storage_connection: SecretStr | None = Field(default=None, validation_alias="AzureWebJobsStorage")
    service_bus_connection: SecretStr | None = Field(default=None, validation_alias="ServiceBusConnection")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take settings from the environment alone: no file is read behind anybody's back."""
        return init_settings, env_settings


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from the environment.

    Raises:
        InvalidSetting: naming each setting that is unknown or malformed, never its value.
    """
    names = os.environ if environment is None else environment
    fields = Settings.model_fields.items()
    known = {
        f"{_PREFIX}{name}".upper() for name, field in fields if not field.validation_alias
    } | _CLIENT_ONLY
    unknown = sorted(name for name in names if name.upper().startswith(_PREFIX) and name.upper() not in known)
    if unknown:
        raise InvalidSetting(f"unknown setting {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    try:
        return Settings()
    except ValidationError as error:
        problems = [
            f"{_setting_name(item['loc'])}: {item['msg']}" for item in error.errors(include_input=False)
        ]
        raise InvalidSetting("; ".join(problems)) from None


def _setting_name(location: tuple[int | str, ...]) -> str:
    name = str(location[0]) if location else "settings"
    return f"{_PREFIX}{name.upper()}" if name in Settings.model_fields else name
