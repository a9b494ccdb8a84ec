"""Functions run by hand, as `POST /admin/functions/{name}` of the Functions host does."""

from aos.local.host.answers import BadRequest
from aos.local.host.busmessages import batch_body
from aos.local.host.calls import WorkerLostError
from aos.local.host.functions import Function, Trigger
from aos.local.host.supervisor import Supervisor
from aos.local.host.timers import Timers

_MESSAGE = {
    "MessageId": "",
    "DeliveryCount": 0,
    "SequenceNumber": 0,
    "UserProperties": {},
    "ApplicationProperties": {},
}
"""What the Service Bus extension says of a message that was made of a text alone."""


class ByHand:
    """Runs functions that are not called by HTTP, and waits for none of them."""

    def __init__(self, supervisor: Supervisor, timers: Timers) -> None:
        self._supervisor = supervisor
        self._timers = timers

    def run(self, function: Function, given: str) -> None:
        """Run a function with `given` as its trigger's data; `BadRequest` for one that is not run so."""
        if function.disabled:
            raise BadRequest(f"the function {function.name} is disabled")
        metadata: dict[str, object] | None = None
        match function.trigger:
            case Trigger.HTTP:
                raise BadRequest(f"the function {function.name} is called by its URL")
            case Trigger.ORCHESTRATION | Trigger.ENTITY:
                raise BadRequest(f"the function {function.name} is run through a durable client")
            case Trigger.TIMER:
                body = self._timers.occasion(function)
            case Trigger.BUS:
                body, metadata = _message(function, given)
            case _:
                body = given.encode()
        self._supervisor.spawn(self._run(function, body, metadata))

    async def _run(self, function: Function, body: bytes, metadata: dict[str, object] | None) -> None:
        try:
            await self._supervisor.invoke("by hand", function, body, metadata)
        except WorkerLostError:
            self._supervisor.say(f"{function.name}: the run by hand was lost with its worker")


def _message(function: Function, given: str) -> tuple[bytes, dict[str, object]]:
    if function.sdk_types or function.settles:
        raise BadRequest(f"the function {function.name} needs a message that was received: send it one")
    if str(function.properties.get("cardinality", "one")).lower() == "many":
        return batch_body([given.encode()]), {f"{name}Array": [value] for name, value in _MESSAGE.items()}
    return given.encode(), dict(_MESSAGE)
