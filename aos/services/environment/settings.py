"""The settings of AOS: ``AOS_*`` in the environment, and the Functions names for connections."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from aos.kernel.errors import InvalidSetting
from aos.kernel.ids import ID_PATTERN

_PREFIX = "AOS_"
_CLIENT_ONLY = frozenset({"AOS_URL", "AOS_KEY"})
"""Read by the command line as a client of the API, not by the app."""

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_IN_VAULT = r"https://[^/@?#]+/{kind}/[0-9A-Za-z-]{{1,127}}"


def _uuid(text: str) -> str:
    if not _UUID.fullmatch(text):
        raise ValueError("must be a UUID")
    return text.lower()


def _endpoint(url: str) -> str:
    """Return an HTTPS URL without credentials, query or fragment, without a slash at its end."""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("must be an https URL without credentials, query or fragment")
    return url.rstrip("/")


def _audience(text: str) -> str:
    if not re.fullmatch(r"(api://)?[^\s/]\S*", text):
        raise ValueError("must be an application's client id, or its api:// URI")
    return text


def _in_vault(kind: str) -> Callable[[str], str]:
    def check(identifier: str) -> str:
        if not re.fullmatch(_IN_VAULT.format(kind=kind), identifier):
            raise ValueError(f"must be like https://VAULT.vault.azure.net/{kind}/NAME, without a version")
        return identifier

    return check


Uuid = Annotated[str, AfterValidator(_uuid)]
Endpoint = Annotated[str, AfterValidator(_endpoint)]
Audience = Annotated[str, AfterValidator(_audience)]
VaultKey = Annotated[str, AfterValidator(_in_vault("keys"))]
VaultSecret = Annotated[str, AfterValidator(_in_vault("secrets"))]
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
    storage_tables_url: Endpoint | None = None
    """With ``storage_blobs_url``, the account of the rows and values, reached by identity."""
    storage_blobs_url: Endpoint | None = None
    checkpoints_url: Endpoint | None = None
    """The account, reached by identity, that keeps signed checkpoints so that nobody can change them."""
    service_bus_connection: SecretStr | None = Field(default=None, validation_alias="ServiceBusConnection")
    service_bus_namespace: str | None = Field(
        default=None, validation_alias="ServiceBusConnection__fullyQualifiedNamespace"
    )
    """The namespace's host name; reached by identity."""
    identity_client_id: Uuid | None = None
    """The client id of the user-assigned identity; None: whoever is signed in on this machine."""
    signing_key: VaultKey | None = None
    """The Key Vault key, without a version, that signs the audit; None: a file below ``data``."""
    model_auth: Literal["key", "identity"] = "key"
    """``identity``: the model is asked with a token of the process's identity, as Azure OpenAI takes it."""
    model_api_key_secret: VaultSecret | None = None
    """The Key Vault secret, without a version, that holds the model's key."""
    auth_tenant_id: Uuid | None = None
    """With ``auth_audience``, the Entra directory whose bearer tokens are taken beside API keys."""
    auth_audience: Audience | None = None
    """The client id of the app registration, or its ``api://`` URI."""
    auth_authority: Endpoint = "https://login.microsoftonline.com"
    telemetry_connection: str | None = Field(
        default=None, validation_alias="APPLICATIONINSIGHTS_CONNECTION_STRING"
    )
    """Azure Monitor; it holds no secret where local authentication is off."""
    otlp_endpoint: str | None = Field(default=None, validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT")
    """An OpenTelemetry collector, where there is no Azure Monitor."""
    telemetry_console: bool = False
    """Traces and metrics on standard error, where there is neither."""
    telemetry_share: Annotated[float, Field(ge=0, le=1)] = 1.0
    """The share of the traces that is kept; those that failed always are."""
    read_only: bool = False
    """A standby: what would change something is refused."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        """Refuse settings that contradict each other or make no sense alone."""
        pairs = [
            (
                "AOS_STORAGE_TABLES_URL",
                self.storage_tables_url,
                "AOS_STORAGE_BLOBS_URL",
                self.storage_blobs_url,
            ),
            ("AOS_AUTH_TENANT_ID", self.auth_tenant_id, "AOS_AUTH_AUDIENCE", self.auth_audience),
        ]
        for one, first, other, second in pairs:
            if (first is None) != (second is None):
                raise ValueError(f"{one} and {other} are given together or not at all")
        if self.service_bus_connection is not None and self.service_bus_namespace is not None:
            raise ValueError(
                "ServiceBusConnection and ServiceBusConnection__fullyQualifiedNamespace exclude each other"
            )
        keys = (self.model_api_key, self.model_api_key_secret, self.model_auth == "identity" or None)
        if sum(key is not None for key in keys) > 1:
            raise ValueError(
                "AOS_MODEL_API_KEY, AOS_MODEL_API_KEY_SECRET and AOS_MODEL_AUTH=identity exclude each other"
            )
        return self

    @property
    def needs_identity(self) -> bool:
        """Whether something is reached by identity, without a key."""
        return any(
            (
                self.storage == "azure" and self.storage_tables_url is not None,
                self.service_bus_namespace is not None,
                self.signing_key is not None,
                self.checkpoints_url is not None,
                self.model_auth == "identity",
                self.model_api_key_secret is not None,
                self.telemetry_connection is not None and self.identity_client_id is not None,
            )
        )

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
        problems = [_problem(item) for item in error.errors(include_input=False)]
        raise InvalidSetting("; ".join(problems)) from None


def _problem(item: Mapping[str, Any]) -> str:
    """What is wrong with a setting, or with several together, whose message names them."""
    message = str(item["msg"]).removeprefix("Value error, ")
    return f"{_setting_name(str(item['loc'][0]))}: {message}" if item["loc"] else message


def _setting_name(name: str) -> str:
    return f"{_PREFIX}{name.upper()}" if name in Settings.model_fields else name
