"""What the settings choose: what carries messages, who signs, who vouches for callers, which model answers.

Nothing is connected to before it is used. ``credential`` is the process's identity, where settings ask
for one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from azure.core.credentials_async import AsyncTokenCredential

from aos.kernel.errors import InvalidSetting
from aos.services.audit.keyring import Keyring
from aos.services.environment.clock import Clock, system_clock
from aos.services.environment.settings import Settings
from aos.services.governance.signer import LocalSigner
from aos.services.inference.factory import make_model_client
from aos.services.inference.openai_compatible.keys import IdentityToken, ModelKeys, VaultKey
from aos.services.inference.ports import ModelClient
from aos.services.messaging.steps import ServiceBusStepQueue
from aos.services.storage.opening import required
from aos.services.storage.ports import Blobs
from aos.services.storage.standing_by import reading

if TYPE_CHECKING:
    from azure.servicebus.aio import ServiceBusClient

    from aos.services.auth.entra import EntraTokens


def open_queue(settings: Settings, credential: AsyncTokenCredential | None = None) -> ServiceBusStepQueue:
    """Return the queue of steps; ``InvalidSetting`` if its connection is missing."""
    namespace, connection = settings.service_bus_namespace, settings.service_bus_connection
    if namespace is not None:
        who = required(credential)
        return ServiceBusStepQueue(lambda: _bus_client()(namespace, who))
    if connection is None:
        raise InvalidSetting("ServiceBusConnection is missing: steps are sent over Service Bus")
    return ServiceBusStepQueue(lambda: _bus_client().from_connection_string(connection.get_secret_value()))


def _bus_client() -> type[ServiceBusClient]:
    from azure.servicebus.aio import ServiceBusClient  # noqa: PLC0415 - 0.2 s, only where steps are sent

    return ServiceBusClient


def open_keyring(
    settings: Settings, credential: AsyncTokenCredential | None, clock: Clock = system_clock
) -> Keyring:
    """Return the keys that sign the audit.

    Raises:
        InvalidSetting: the local key cannot be used.
    """
    if settings.signing_key is None:
        return LocalSigner.open(settings.data / "signing-key.pem")
    from aos.services.governance.key_vault import VaultAccess, VaultKeyring  # noqa: PLC0415 - Azure alone

    return VaultKeyring(settings.signing_key, VaultAccess(required(credential), {}), clock=clock)


def open_archive(settings: Settings, credential: AsyncTokenCredential | None) -> Blobs | None:
    """Return where checkpoints can neither be changed nor removed, or None: nowhere."""
    if settings.checkpoints_url is None:
        return None
    from aos.services.storage import azure  # noqa: PLC0415 - half a second

    archive = azure.open_archive(settings.checkpoints_url, required(credential))
    return reading(archive) if settings.read_only else archive


def open_tokens(settings: Settings, clock: Clock) -> EntraTokens | None:
    """Return who accepts bearer tokens, or None: nobody does."""
    if settings.auth_tenant_id is None or settings.auth_audience is None:
        return None
    from aos.services.auth.entra import EntraTokens  # noqa: PLC0415 - 0.2 s, where there is a directory

    return EntraTokens(
        directory=settings.auth_tenant_id,
        audience=settings.auth_audience.removeprefix("api://"),
        tenant=settings.tenant,
        clock=clock,
        authority=settings.auth_authority,
    )


def open_model(settings: Settings, credential: AsyncTokenCredential | None, clock: Clock) -> ModelClient:
    """Return the configured model.

    Raises:
        InvalidSetting: it lacks what it needs.
    """
    if settings.model == "mock":
        return make_model_client("mock")
    keys: ModelKeys | None = None
    if settings.model_auth == "identity":
        keys = IdentityToken(required(credential))
    elif settings.model_api_key_secret is not None:
        from aos.services.environment.secrets import VaultSecret  # noqa: PLC0415 - Azure alone

        setting = "AOS_MODEL_API_KEY_SECRET"
        secret = VaultSecret(
            settings.model_api_key_secret, required(credential), setting=setting, clock=clock
        )
        keys = VaultKey(secret)
    return make_model_client(
        "openai",
        model=settings.model,
        base_url=settings.model_base_url,
        api_key=settings.model_api_key,
        keys=keys,
    )
