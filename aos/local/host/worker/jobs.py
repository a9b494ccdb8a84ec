"""Invocations that run on a thread from the first to the last: nothing of them waits for the event loop."""

import asyncio
import contextvars
import sys
from collections.abc import MutableMapping
from typing import Any

from aos.local.host.worker.failures import FunctionExitedError, failure_from, forget
from aos.local.host.worker.invoking import Function, returned_data
from aos.local.host.worker.runtime import (
    Datum,
    check_return,
    decode_inputs,
    encode_return,
    invocation_id_cv,
    invocation_id_local,
    prepare_context,
    run_sync_func,
)

type Outcome = tuple[dict[str, Any], bytes]
"""The head and the body of a result."""


class Job:
    """One invocation; while it runs, `running` tells the function's name by the invocation's id."""

    def __init__(self, invocation_id: str, name: str, running: MutableMapping[str, str]) -> None:
        self.id = invocation_id
        self.begun = False
        self._name = name
        self._running = running

    def run(self) -> Outcome:
        """Run the function; what it raises is its outcome."""
        self.begun = True
        self._running[self.id] = self._name
        outcome = contextvars.Context().run(self._run)
        sys.stdout.flush()
        self._running.pop(self.id, None)
        return outcome

    def given_up(self) -> Outcome:
        """The outcome of one that is not waited for any longer; one that has begun cannot be stopped."""
        failure = failure_from(self.id, asyncio.CancelledError())
        return {"ok": False, "stopped": not self.begun, **failure}, b""

    def _run(self) -> Outcome:
        invocation_id_cv.set(self.id)
        invocation_id_local.invocation_id = self.id
        try:
            outcome = self._call()
        except SystemExit as exit_:
            error = FunctionExitedError(f"the function called sys.exit({exit_.code!r})")
            return {"ok": False, **failure_from(self.id, error)}, b""
        except BaseException as error:  # noqa: BLE001 - the thread goes on
            return {"ok": False, **failure_from(self.id, error)}, b""
        finally:
            invocation_id_local.invocation_id = None
        forget(self.id)
        return outcome

    def _call(self) -> Outcome:
        raise NotImplementedError


class Call(Job):
    """A call of a function that is `simple`, through the parts of the worker library."""

    def __init__(
        self, invocation_id: str, function: Function, running: MutableMapping[str, str], body: bytes
    ) -> None:
        super().__init__(invocation_id, function.name, running)
        self._function = function
        self._body = body

    def _call(self) -> Outcome:
        info = self._function.info
        datum = Datum(self._body.decode(), "json")
        arguments = decode_inputs(info, [(self._function.trigger_name, datum)], {})
        context = prepare_context(info, self.id, arguments)
        returned = run_sync_func(self.id, context, info.func, arguments)
        check_return(info, returned)
        return {"ok": True}, returned_data(self._function, encode_return(info, returned))
