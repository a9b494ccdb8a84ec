"""What host.json may say, and what this host makes of each setting.

After the host.json reference of Azure Functions 2.x and later, and the options of its extensions.
Names are compared without regard to case, as the configuration of .NET does.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aos.local.host.errors import HostError


class Use(enum.Enum):
    """What becomes of a setting that is accepted."""

    HONOURED = enum.auto()
    NO_EFFECT = enum.auto()  # it speaks of the cloud, of telemetry, or of triggers refused by themselves


@dataclass(frozen=True, slots=True)
class Refused:
    """A setting that would change what the app does, and which this host cannot follow.

    A value in `harmless` is accepted: it asks for what happens anyway.
    """

    what: str
    harmless: tuple[object, ...] = (False,)


type Tree = Use | Refused | Mapping[str, "Tree"]

_YES, _NO = Use.HONOURED, Use.NO_EFFECT
ANY = "*"

_DURABLE: Mapping[str, Tree] = {
    "hubName": _YES,
    "maxConcurrentActivityFunctions": _YES,
    "maxConcurrentOrchestratorFunctions": _YES,
    "maxConcurrentEntityFunctions": _YES,
    "maxGrpcMessageSizeInBytes": _YES,
    # Whichever provider it names, the hub is the local one.
    "storageProvider": {"workItemFilteringEnabled": _YES, ANY: _NO},
    "azureStorageConnectionStringName": _NO,
    "connectionName": _NO,
    "partitionCount": _NO,
    "controlQueueBatchSize": _NO,
    "controlQueueBufferThreshold": _NO,
    "controlQueueVisibilityTimeout": _NO,
    "workItemQueueVisibilityTimeout": _NO,
    "trackingStoreConnectionStringName": _NO,
    "trackingStoreNamePrefix": _NO,
    "maxQueuePollingInterval": _NO,
    "extendedSessionsEnabled": _YES,
    "extendedSessionIdleTimeoutInSeconds": _NO,
    "instanceIdCacheSize": _NO,
    "useAppLease": _NO,
    "appLeaseOptions": _NO,
    "useGracefulShutdown": _NO,
    "localRpcEndpointEnabled": _NO,
    "maxEntityOperationBatchSize": _NO,
    "maxOrchestrationActions": _NO,
    "entityMessageReorderWindowInMinutes": _NO,
    "rollbackEntityOperationsOnExceptions": _NO,  # of entities in .NET; the Python SDK always does
    "storeInputsInOrchestrationHistory": _NO,
    "tracing": _NO,
    "traceInputsAndOutputs": _NO,
    "logReplayEvents": _NO,
    "throwStatusExceptionsOnRaiseEvent": _YES,
    "httpSettings": {"defaultAsyncRequestSleepTimeMilliseconds": _YES, "useForwardedHost": _YES},
    "defaultVersion": _YES,
    "versionMatchStrategy": _YES,
    "versionFailureStrategy": _YES,
    "notifications": Refused("lifecycle notifications through Event Grid", ({},)),
    "overridableExistingInstanceStates": _YES,
}

_HTTP: Mapping[str, Tree] = {
    "routePrefix": _YES,
    "customHeaders": _YES,
    "maxOutstandingRequests": _YES,
    "maxConcurrentRequests": _YES,
    "dynamicThrottlesEnabled": _NO,  # it watches counters that only the cloud's sandbox has
    "hsts": _NO,  # of HTTPS alone
}

_CLIENT_RETRIES: Mapping[str, Tree] = {
    "tryTimeout": _YES,  # how long a session is waited on that has no idle timeout of its own
    "mode": _NO,  # the rest is of a connection that fails: the broker is in this process
    "delay": _NO,
    "maxDelay": _NO,
    "maxRetries": _NO,
}

_SERVICE_BUS: Mapping[str, Tree] = {
    "autoCompleteMessages": _YES,
    "maxAutoLockRenewalDuration": _YES,
    "maxConcurrentCalls": _YES,
    "maxConcurrentSessions": _YES,
    "maxConcurrentCallsPerSession": _YES,
    "sessionIdleTimeout": _YES,
    "maxMessageBatchSize": _YES,
    "minMessageBatchSize": _YES,
    "maxBatchWaitTime": _YES,
    "clientRetryOptions": _CLIENT_RETRIES,
    # How clients reach the service: no message takes that way to the host.
    "prefetchCount": _NO,
    "transportType": _NO,
    "webProxy": _NO,
    # For functions in .NET: they alone can be given a client or a type of their own.
    "enableCrossEntityTransactions": _NO,
    "jsonSerializerSettings": _NO,
    # What extension 5.x still reads of 4.x.
    "messageHandlerOptions": {"autoComplete": _YES, "maxAutoRenewDuration": _YES, "maxConcurrentCalls": _YES},
    "sessionHandlerOptions": {
        "autoComplete": _YES,
        "maxAutoRenewDuration": _YES,
        "maxConcurrentSessions": _YES,
        "messageWaitTime": _YES,
    },
    "batchOptions": {
        "autoComplete": _YES,
        "maxMessageCount": Refused("of the Service Bus extension 4.x: maxMessageBatchSize replaced it", ()),
        "operationTimeout": Refused(
            "of the Service Bus extension 4.x: clientRetryOptions.tryTimeout replaced it", ()
        ),
    },
}

_RETRY: Mapping[str, Tree] = dict.fromkeys(
    ("strategy", "maxRetryCount", "delayInterval", "minimumInterval", "maximumInterval"), _YES
)

_LOGGING: Mapping[str, Tree] = {
    "logLevel": {ANY: _YES},
    "fileLoggingMode": _NO,
    "console": _NO,
    "debugConsole": _NO,
    "applicationInsights": _NO,
}

SETTINGS: Mapping[str, Tree] = {
    "$schema": _NO,
    "version": _YES,
    "functions": _YES,
    "functionTimeout": _YES,
    "retry": _RETRY,
    "watchDirectories": _YES,
    "watchFiles": _YES,
    "logging": _LOGGING,
    # Any other extension: its triggers and bindings are refused by themselves.
    "extensions": {"http": _HTTP, "durableTask": _DURABLE, "serviceBus": _SERVICE_BUS, ANY: _NO},
    "concurrency": {
        "dynamicConcurrencyEnabled": _NO,  # it seeks the limits that suit a load; here they stay as set
        "snapshotPersistenceEnabled": _NO,
        "maximumFunctionConcurrency": _NO,
        "totalAvailableMemoryBytes": _NO,
        "cpuThreshold": _NO,
    },
    "aggregator": _NO,
    "extensionBundle": _NO,
    "healthMonitor": _NO,
    "isDefaultHostConfig": _NO,
    "managedDependency": _NO,
    "managedDependencies": _NO,
    "metadataProviderTimeout": _NO,
    "sendCanceledInvocationsToWorker": _NO,
    "singleton": _NO,
    "telemetryMode": _NO,
    "customHandler": Refused("custom handlers"),
    "httpWorker": Refused("custom handlers"),
    **{
        name: Refused(f"a setting of Functions 1.x: put it under extensions.{name}")
        for name in ("http", "queues", "serviceBus", "eventHub", "applicationInsights", "tracing")
    },
}


def checked(document: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The document with the names spelt as here; `HostError` names what is refused or unknown."""
    return _Check(where).object(document, SETTINGS, ())


class _Check:
    def __init__(self, where: str) -> None:
        self._where = where

    def object(
        self, values: Mapping[str, Any], tree: Mapping[str, Tree], path: tuple[str, ...]
    ) -> dict[str, Any]:
        names = {name.lower(): name for name in tree if name != ANY}
        found: dict[str, Any] = {}
        for given, value in values.items():
            name = names.get(given.lower(), given)
            use = tree.get(name, tree.get(ANY))
            if use is None:
                raise HostError(
                    f"{self._where}: {'.'.join((*path, name))} is not a setting that this host knows:"
                    f" remove it, or correct its name; known here: {', '.join(sorted(names.values()))}"
                )
            found[name] = self._value(value, use, (*path, name))
        return found

    def _value(self, value: Any, use: Tree, path: tuple[str, ...]) -> Any:
        if isinstance(use, Refused) and value is not None and value not in use.harmless:
            raise HostError(f"{self._where}: {'.'.join(path)} is not supported here ({use.what}): remove it")
        if isinstance(use, Mapping) and isinstance(value, Mapping):
            return self.object(value, use, path)
        return value
