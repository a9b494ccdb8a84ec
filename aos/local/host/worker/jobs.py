"""Invocations that run on a thread from the first to the last: nothing of them waits for the event loop."""

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any

from aos.local.host.frames import pack
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
    """One invocation; `finish` is given the payload of its result, once."""

    def __init__(self, invocation_id: str, finish: Callable[[str, bytes], None]) -> None:
        self.id = invocation_id
        self._finish = finish
        self._begun = self._given_up = False
        self._outcome: Outcome = {}, b""

    def run(self) -> None:
        """Run the function; what it raises becomes its outcome."""
        if self._given_up:
            return
        self._begun = True
        self._outcome = contextvars.Context().run(self._run)

    def end(self) -> None:
        """Send the outcome, unless the invocation was given up."""
        if not self._given_up:
            self._finish(self.id, pack(*self._outcome))

    def cancel(self) -> None:
        """Give it up: one that has begun cannot be stopped, and nobody hears of its outcome."""
        if not self._given_up:
            self._given_up = True
            failure = failure_from(self.id, asyncio.CancelledError())
            self._finish(self.id, pack({"ok": False, "stopped": not self._begun, **failure}))

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
        self, invocation_id: str, finish: Callable[[str, bytes], None], function: Function, body: bytes
    ) -> None:
        super().__init__(invocation_id, finish)
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
