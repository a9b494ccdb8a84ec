"""The life of an agent instance: one state machine, and the set of work that it serves.

An instance serves several steps at once unless it is exclusive. ``idle`` and ``busy`` are therefore
never set by an event: an instance that serves is busy while its set of active work is not empty.
Work already assigned may finish in any state, because a step runs to its end wherever its instance
is moved to meanwhile.

``advance`` is the reducer. ``assign`` wants an instance that was started; ``first_assignment`` takes
one that is absent or at rest through register, start and started first, so an entity may use it for
every assignment. Times are seconds since the epoch, UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any, get_args

from aos.kernel.errors import IllegalTransition, InvalidInput


class AgentState(StrEnum):
    """Where an instance is in its life."""

    REGISTERED = "registered"
    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    SUSPENDED = "suspended"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True)
class Register:
    """The instance exists, with this definition. Registering again adopts another definition."""

    definition: str
    """The digest of the agent's definition."""
    exclusive: bool = False
    """Whether the instance serves one piece of work at a time."""


@dataclass(frozen=True, slots=True)
class Start:
    """Begin to get ready for work."""


@dataclass(frozen=True, slots=True)
class Started:
    """Ready for work."""


@dataclass(frozen=True, slots=True)
class Assign:
    """Give a piece of work. Idempotent while the work is active."""

    work: str
    at: float


@dataclass(frozen=True, slots=True)
class Finish:
    """A piece of work ended. Work that is not active was finished before: nothing changes."""

    work: str
    ok: bool
    at: float


@dataclass(frozen=True, slots=True)
class Suspend:
    """Take no new work for now."""

    reason: str


@dataclass(frozen=True, slots=True)
class Resume:
    """Take work again after a suspension."""


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Take no new work until released: only ``Release`` leads out, so a restart is no escape."""

    reason: str


@dataclass(frozen=True, slots=True)
class Release:
    """End the quarantine: the instance is as one newly registered, to be started again."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Take no new work and let the active work end."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """Stopped. Work that is still active is given up."""


@dataclass(frozen=True, slots=True)
class Fail:
    """The instance cannot work."""

    reason: str


type Event = (
    Register
    | Start
    | Started
    | Assign
    | Finish
    | Suspend
    | Resume
    | Quarantine
    | Release
    | Stop
    | Stopped
    | Fail
)

_EVENTS: Mapping[str, type[Event]] = {kind.__name__.lower(): kind for kind in get_args(Event.__value__)}


@dataclass(frozen=True, slots=True)
class Assigned:
    """The instance serves ``work``."""

    work: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The instance does not take the work now."""

    state: AgentState
    reason: str


@dataclass(frozen=True, slots=True)
class Moved:
    """The event was taken; the two states are equal when it did not move the instance."""

    before: AgentState | None
    after: AgentState


type Outcome = Assigned | Refused | Moved


@dataclass(frozen=True, slots=True)
class AgentInstance:
    """What an instance is, does and has done."""

    state: AgentState
    definition: str
    exclusive: bool = False
    active: Mapping[str, float] = field(default_factory=dict)
    """Work id to the time since when it is served."""
    completed: int = 0
    failed: int = 0
    consecutive_failures: int = 0
    """Since the last success or start."""
    reason: str | None = None
    """Why the instance is suspended, quarantined or failed."""
    last_finished_at: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the instance as a JSON object."""
        return asdict(self) | {"state": self.state.value, "active": dict(self.active)}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> AgentInstance:
        """Read what ``to_json`` wrote."""
        return AgentInstance(**{**value, "state": AgentState(value["state"])})


_S = AgentState
_SERVING = (_S.IDLE, _S.BUSY)
_SAME: Mapping[AgentState, AgentState] = {state: state for state in AgentState}

_TRANSITIONS: Mapping[type[Event], Mapping[AgentState, AgentState]] = {
    Register: {**_SAME, _S.STOPPED: _S.REGISTERED, _S.FAILED: _S.REGISTERED},
    Start: {_S.REGISTERED: _S.STARTING, _S.STOPPED: _S.STARTING, _S.FAILED: _S.STARTING},
    Started: {_S.STARTING: _S.IDLE},
    Assign: {_S.IDLE: _S.BUSY, _S.BUSY: _S.BUSY},
    Finish: _SAME,
    Suspend: dict.fromkeys(_SERVING, _S.SUSPENDED),
    Resume: {_S.SUSPENDED: _S.IDLE},
    Quarantine: dict.fromkeys(set(_S) - {_S.STOPPING, _S.STOPPED, _S.QUARANTINED}, _S.QUARANTINED),
    Release: {_S.QUARANTINED: _S.REGISTERED},
    Stop: dict.fromkeys(set(_S) - {_S.STOPPING, _S.STOPPED, _S.QUARANTINED}, _S.STOPPING),
    Stopped: {_S.STOPPING: _S.STOPPED},
    Fail: dict.fromkeys((_S.STARTING, _S.IDLE, _S.BUSY, _S.SUSPENDED, _S.STOPPING), _S.FAILED),
}
"""Event to state to the state that it leads to. ``IDLE`` and ``BUSY`` as a target both mean
"serving": which of the two follows from the active work."""

_TAKES_NO_WORK = (_S.SUSPENDED, _S.STOPPING, _S.STOPPED, _S.FAILED, _S.QUARANTINED)


def advance(instance: AgentInstance | None, event: Event) -> tuple[AgentInstance, Outcome]:
    """Apply ``event`` to the instance; ``None`` is one that does not exist, and may only be registered.

    Raises:
        IllegalTransition: the state has no such transition; names the state, the event and what is allowed.
    """
    if instance is None:
        if not isinstance(event, Register):
            raise _illegal(None, event)
        born = AgentInstance(_S.REGISTERED, event.definition, event.exclusive)
        return born, Moved(None, born.state)
    if isinstance(event, Assign) and (refusal := _refusal(instance, event)):
        return instance, refusal
    target = _TRANSITIONS[type(event)].get(instance.state)
    if target is None:
        raise _illegal(instance.state, event)
    changed = _apply(replace(instance, state=target), event)
    settled = _idle_or_busy(changed)
    if isinstance(event, Assign):
        return settled, Assigned(event.work)
    return settled, Moved(instance.state, settled.state)


def first_assignment(
    instance: AgentInstance | None, register: Register, assign: Assign
) -> tuple[AgentInstance, Outcome]:
    """Assign work to an instance that may be absent, only registered, or starting: start it first.

    A started instance keeps its own registration, and a stopped, failed, suspended or quarantined one
    refuses the work: only an operator brings those back.
    """
    opening: list[Event] = [register, Start(), Started()]
    done = {None: 0, _S.REGISTERED: 1, _S.STARTING: 2}.get(instance.state if instance else None, 3)
    for event in opening[done:]:
        instance, _ = advance(instance, event)
    return advance(instance, assign)


def event_named(operation: str, arguments: Mapping[str, Any] | None = None) -> Event:
    """Build the event whose lower-case name is ``operation``, as an entity operation carries it.

    Raises:
        InvalidInput: no such event, or its arguments do not fit.
    """
    kind = _EVENTS.get(operation)
    if kind is None:
        raise InvalidInput(f"an agent has no operation {operation!r}; it has {', '.join(_EVENTS)}")
    try:
        return kind(**(arguments or {}))
    except TypeError as error:
        raise InvalidInput(f"operation {operation!r}: {error}") from error


def allowed_events(state: AgentState | None) -> tuple[str, ...]:
    """Return the names of the events that ``state`` takes; ``None`` is an instance that does not exist."""
    if state is None:
        return ("register",)
    return tuple(name for name, kind in _EVENTS.items() if state in _TRANSITIONS[kind])


def _refusal(instance: AgentInstance, event: Assign) -> Refused | None:
    if event.work in instance.active:
        return None if instance.state in _SERVING else _refused(instance)
    if instance.state in _TAKES_NO_WORK:
        return _refused(instance)
    if instance.exclusive and instance.active:
        return Refused(instance.state, f"exclusive, and serves {next(iter(instance.active))}")
    return None


def _refused(instance: AgentInstance) -> Refused:
    return Refused(instance.state, instance.reason or f"the agent is {instance.state}")


def _apply(instance: AgentInstance, event: Event) -> AgentInstance:
    match event:
        case Register(definition, exclusive):
            return replace(instance, definition=definition, exclusive=exclusive)
        case Assign(work, at):
            return replace(instance, active={work: at, **instance.active})
        case Finish():
            return _finish(instance, event)
        case Suspend(reason) | Quarantine(reason) | Fail(reason):
            return replace(instance, reason=reason)
        case Stopped():
            return replace(instance, active={}, reason=None)
        case Start():
            return replace(instance, reason=None, consecutive_failures=0)
        case Started() | Resume() | Release() | Stop():
            return replace(instance, reason=None)


def _finish(instance: AgentInstance, event: Finish) -> AgentInstance:
    if event.work not in instance.active:
        return instance
    return replace(
        instance,
        active={work: since for work, since in instance.active.items() if work != event.work},
        completed=instance.completed + event.ok,
        failed=instance.failed + (not event.ok),
        consecutive_failures=0 if event.ok else instance.consecutive_failures + 1,
        last_finished_at=event.at,
    )


def _idle_or_busy(instance: AgentInstance) -> AgentInstance:
    if instance.state not in _SERVING:
        return instance
    return replace(instance, state=_S.BUSY if instance.active else _S.IDLE)


def _illegal(state: AgentState | None, event: Event) -> IllegalTransition:
    name, allowed = type(event).__name__.lower(), allowed_events(state)
    return IllegalTransition(
        f"an agent that is {state or 'absent'} does not take {name!r}; it takes {', '.join(allowed)}",
        state=state,
        event=name,
        allowed=allowed,
    )
