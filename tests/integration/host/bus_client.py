"""The real SDK against the broker of a host process."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from azure.servicebus import (
    ServiceBusClient,
    ServiceBusMessage,
    ServiceBusReceivedMessage,
    ServiceBusReceiveMode,
    ServiceBusReceiver,
    ServiceBusSender,
)
from azure.servicebus.exceptions import SessionCannotBeLockedError
from host_process import HostProcess, until

BUS_SETTINGS = {  # of the app `bus`: two of its functions are disabled, and with them what they want
    "AzureWebJobs.elsewhere.Disabled": "true",
    "AzureWebJobs.foreign.Disabled": "1",
    "Foreign__fullyQualifiedNamespace": "elsewhere.servicebus.windows.net",
}


class BusClient:
    """Sends and receives; handlers are opened once, as that takes half a second each."""

    def __init__(self, connection_string: str) -> None:
        self._client = ServiceBusClient.from_connection_string(connection_string)
        self._senders: dict[str, ServiceBusSender] = {}
        self._receivers: dict[str, ServiceBusReceiver] = {}
        self._received: dict[str, list[ServiceBusReceivedMessage]] = {}

    def send(self, queue: str, *bodies: str | bytes, **properties: Any) -> None:
        """Send to a queue or topic, all at once."""
        messages = [ServiceBusMessage(body, **properties) for body in bodies]
        self.send_messages(queue, messages)

    def send_messages(self, queue: str, messages: Sequence[ServiceBusMessage]) -> None:
        if queue not in self._senders:
            self._senders[queue] = self._client.get_queue_sender(queue)
        self._senders[queue].send_messages(list(messages))

    def wait_for(self, queue: str, body: str | bytes) -> ServiceBusReceivedMessage:
        """The message of a queue with this body; those that come before it are kept for others."""
        wanted = body.encode() if isinstance(body, str) else body

        def found() -> ServiceBusReceivedMessage | None:
            kept = self._receive(queue)
            return next((each for each in kept if b"".join(each.body) == wanted), None)

        message = until(found, f"the message {body!r} in {queue}")
        assert message is not None
        self._received[queue].remove(message)
        return message

    def deferred(self, queue: str, body: str) -> ServiceBusReceivedMessage:
        """The message that was set aside with this body, taken out of the queue."""
        with self._client.get_queue_receiver(queue) as receiver:

            def found() -> int | None:
                peeked = receiver.peek_messages(100)
                wanted = [each for each in peeked if each.state.name == "DEFERRED" and str(each) == body]
                return wanted[0].sequence_number if wanted else None

            number = until(found, f"the deferred message {body!r}")
            assert number is not None
            (message,) = receiver.receive_deferred_messages(number)
            receiver.complete_message(message)
            return message

    def session_state(self, queue: str, session_id: str) -> bytes:
        """The state of a session that nobody holds."""

        def state() -> bytes | None:
            try:
                with self._client.get_queue_receiver(queue, session_id=session_id) as receiver:
                    return receiver.session.get_state()
            except SessionCannotBeLockedError:
                return None

        found = until(state, f"the state of session {session_id!r}")
        assert found is not None
        return found

    def bodies(self, queue: str) -> list[str]:
        """What is in a queue by now, and was not waited for."""
        return [str(message) for message in self._receive(queue)]

    def _receive(self, queue: str) -> list[ServiceBusReceivedMessage]:
        if queue not in self._receivers:
            mode = ServiceBusReceiveMode.RECEIVE_AND_DELETE
            receiver = self._client.get_queue_receiver(queue, receive_mode=mode)
            self._receivers[queue] = receiver.__enter__()  # opens it: a receive must not wait for that
        kept = self._received.setdefault(queue, [])
        kept += self._receivers[queue].receive_messages(100, max_wait_time=0.2)
        return kept

    def close(self) -> None:
        with ThreadPoolExecutor(16) as pool:  # each takes a third of a second
            for handler in (*self._senders.values(), *self._receivers.values()):
                pool.submit(handler.close)
        self._client.close()


def client_of(host: HostProcess) -> BusClient:
    """A client of the broker that the app's `connection` route tells."""
    return BusClient(host.http.get("/connection").text)
