"""The hub over gRPC."""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import durabletask.internal.orchestrator_service_pb2 as pb
import grpc
import grpc.aio

from aos.local.taskhub.errors import HubError
from aos.local.taskhub.hub import TaskHub
from aos.local.taskhub.wire import Empty

_SERVICE = "TaskHubSidecarService"

# A worker takes a stream that stays silent for two minutes for dead.
_PING_AFTER_S = 20.0

# An error's text travels in a header, and clients take headers of 8 KB.
_ERROR_CHARS = 500

_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),  # a port in use is an error
    # A worker whose machine went away without a word is noticed, and its work given to others.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
)

type Handler = grpc.RpcMethodHandler[Any, Any]
type Context = grpc.aio.ServicerContext[Any, Any]


class Server:
    """A hub being served; `port` is the one it listens on."""

    def __init__(self, server: grpc.aio.Server, port: int, hub: TaskHub) -> None:
        self._server = server
        self._hub = hub
        self.port = port

    async def stop(self, grace: float | None = None) -> None:
        """Stop listening and end the streams of work; other calls have `grace` seconds to end."""
        self._hub.end_work()
        await self._server.stop(grace)


async def serve(hub: TaskHub, *, host: str = "127.0.0.1", port: int = 0) -> Server:
    """Serve the hub over gRPC; `HubError` UNAVAILABLE if the port cannot be had."""
    _check_free(host, port)
    server = grpc.aio.server(options=_OPTIONS)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, _handlers(hub)),))
    try:
        bound = server.add_insecure_port(f"{host}:{port}")
    except RuntimeError:
        bound = 0
    if not bound:
        raise _cannot_listen(host, port, "in use or not permitted")
    await server.start()
    return Server(server, bound, hub)


def _check_free(host: str, port: int) -> None:
    """Try the port with a plain socket: gRPC would print its own lines about one it cannot have."""
    try:
        socket.create_server((host, port)).close()
    except (OSError, OverflowError) as error:
        raise _cannot_listen(host, port, getattr(error, "strerror", None) or str(error)) from error


def _cannot_listen(host: str, port: int, why: str) -> HubError:
    return HubError(grpc.StatusCode.UNAVAILABLE, f"cannot listen on {host}:{port}: {why}")


async def _hello(request: object) -> object:
    return Empty()


def _handlers(hub: TaskHub) -> dict[str, Handler]:
    calls: dict[str, Callable[[Any], Awaitable[Any]]] = {
        "Hello": _hello,
        "StartInstance": hub.start_instance,
        "GetInstance": hub.get_instance,
        "WaitForInstanceStart": hub.wait_for_instance_start,
        "WaitForInstanceCompletion": hub.wait_for_instance_completion,
        "RaiseEvent": hub.raise_event,
        "TerminateInstance": hub.terminate_instance,
        "SkipGracefulOrchestrationTerminations": hub.skip_graceful_orchestration_terminations,
        "SuspendInstance": hub.suspend_instance,
        "ResumeInstance": hub.resume_instance,
        "RewindInstance": hub.rewind_instance,
        "RestartInstance": hub.restart_instance,
        "QueryInstances": hub.query_instances,
        "ListInstanceIds": hub.list_instance_ids,
        "PurgeInstances": hub.purge_instances,
        "SignalEntity": hub.signal_entity,
        "GetEntity": hub.get_entity,
        "QueryEntities": hub.query_entities,
        "CleanEntityStorage": hub.clean_entity_storage,
        "CreateTaskHub": hub.create_task_hub,
        "DeleteTaskHub": hub.delete_task_hub,
        "CompleteActivityTask": hub.complete_activity,
        "CompleteOrchestratorTask": hub.complete_orchestrator,
        "CompleteEntityTask": hub.complete_entity,
        "AbandonTaskActivityWorkItem": hub.abandon_activity,
        "AbandonTaskOrchestratorWorkItem": hub.abandon_orchestrator,
        "AbandonTaskEntityWorkItem": hub.abandon_entity,
    }
    inputs = {method.name: method.input_type for method in pb.DESCRIPTOR.services_by_name[_SERVICE].methods}
    handlers: dict[str, Handler] = {
        name: grpc.unary_unary_rpc_method_handler(
            _answering(call),
            request_deserializer=_message_class(inputs[name]).FromString,
            response_serializer=_serialized,
        )
        for name, call in calls.items()
    }
    handlers["GetWorkItems"] = grpc.unary_stream_rpc_method_handler(
        _streaming(lambda request: hub.encoded_work_items(request, ping_after_s=_PING_AFTER_S)),
        request_deserializer=pb.GetWorkItemsRequest.FromString,
    )
    handlers["StreamInstanceHistory"] = grpc.unary_stream_rpc_method_handler(
        _streaming(hub.stream_instance_history),
        request_deserializer=pb.StreamInstanceHistoryRequest.FromString,
        response_serializer=_serialized,
    )
    return handlers


def _message_class(descriptor: Any) -> Any:
    return Empty if descriptor.name == "Empty" else getattr(pb, descriptor.name)


def _serialized(message: Any) -> bytes:
    encoded: bytes = message.SerializeToString()
    return encoded


def _answering(call: Callable[[Any], Awaitable[Any]]) -> Callable[[Any, Context], Awaitable[Any]]:
    async def answer(request: Any, context: Context) -> Any:
        try:
            return await call(request)
        except HubError as error:
            await context.abort(error.code, str(error)[:_ERROR_CHARS])

    return answer


def _streaming(call: Callable[[Any], AsyncIterator[Any]]) -> Callable[[Any, Context], AsyncIterator[Any]]:
    async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
        items = call(request)
        try:
            async for item in items:
                yield item
        except HubError as error:
            await context.abort(error.code, str(error)[:_ERROR_CHARS])
        finally:
            await items.aclose()  # type: ignore[attr-defined]

    return stream
