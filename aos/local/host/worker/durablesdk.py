"""The seam to the durable SDK: every name of it that turns are run with.

Some are internals: this module is imported only where `KNOWN` are the versions installed. An app in an
environment of its own may have others; its turns then go through the worker library.
"""

import durabletask.internal.orchestrator_service_pb2 as pb
from azure.durable_functions.internal.payloads import get_payload_store
from azure.durable_functions.worker import DurableFunctionsWorker
from durabletask.internal.helpers import get_string_value
from durabletask.internal.tracing import suppress_span_emission, use_trace_context
from durabletask.worker import _OrchestrationExecutor as OrchestrationExecutor
from durabletask.worker import _RuntimeOrchestrationContext as RuntimeOrchestrationContext

__all__ = [
    "DurableFunctionsWorker",
    "OrchestrationExecutor",
    "RuntimeOrchestrationContext",
    "get_payload_store",
    "get_string_value",
    "pb",
    "suppress_span_emission",
    "use_trace_context",
]
