"""Service Bus output bindings: what a function set on them is sent before its invocation ends."""

from collections.abc import Iterable
from typing import Any

from aos.local.host.busentities import bus_bindings, output_entity
from aos.local.host.functions import Function, is_bus_output
from aos.local.servicebus import Broker, BrokerError

_PARENT = "$AzureWebJobsParentId"  # by which the extension marks what it sends


class Outputs:
    """Sends the messages of output bindings, once `connect` has said where they go."""

    def __init__(self) -> None:
        self._broker: Broker | None = None
        self._entities: dict[tuple[str, str], str] = {}
        self.problems: list[str] = []

    def connect(self, functions: Iterable[Function], broker: Broker) -> None:
        """Send to the queues and topics of this broker that the functions' bindings name.

        `problems` are those that it does not have: each invocation that sends there will fail.
        """
        self._broker = broker
        for function, binding in bus_bindings(functions):
            if is_bus_output(binding):
                name, entity = str(binding["name"]), output_entity(binding)
                self._entities[function.function_id, name] = entity
                try:
                    broker.namespace.destination(entity)
                except BrokerError as error:
                    self.problems.append(f"function {function.name}, binding {name!r} cannot send: {error}")

    async def send(self, head: dict[str, Any], body: bytes) -> str | None:
        """Send an invocation's messages, all or none for each binding; why not, if one cannot be sent."""
        start = 0
        for output in head["outputs"]:
            bodies = []
            for size in output["sizes"]:
                bodies.append(body[start : start + size])
                start += size
            error = await self._send(head, output, bodies)
            if error is not None:
                return error
        return None

    async def _send(self, head: dict[str, Any], output: dict[str, Any], bodies: list[bytes]) -> str | None:
        assert self._broker is not None, "no function runs before its outputs are connected"
        entity = self._entities[head["function"], output["binding"]]
        try:
            await self._broker.send_all(
                entity,
                bodies,
                content_type="text/plain" if output["text"] else "application/octet-stream",
                application_properties={_PARENT: head["invocation"]},
            )
        except BrokerError as error:
            return f"binding {output['binding']!r} could not send to {entity!r}: {error}"
        return None
