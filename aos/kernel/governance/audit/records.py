"""From facts to records: the chain of leaves, with what may be erased lying apart from it.

A leaf holds a salted digest of its fact's payload, and the hash of the leaf before it. So a payload
(with its salt) can be erased while the chain and the tree stay valid, a digest alone does not let
anybody guess a payload, and a record that was changed is given away by the one that follows it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from aos.kernel.canonical import Json, encode
from aos.kernel.errors import Integrity, InvalidInput
from aos.kernel.governance.audit.encoding import canonical_payload
from aos.kernel.governance.audit.merkle import Frontier, leaf_hash
from aos.kernel.ids import ID_PATTERN

SALT_SIZE = 16
_HEX_HASH = r"^[0-9a-f]{64}$"


class FactType(StrEnum):
    """What can happen in a run and be worth proving later."""

    RUN_STARTED = "run.started"
    RUN_CANCEL_REQUESTED = "run.cancel_requested"
    RUN_ENDED = "run.ended"
    STEP_SCHEDULED = "step.scheduled"
    STEP_PREPARED = "step.prepared"
    STEP_SKIPPED = "step.skipped"
    STEP_DISPATCHED = "step.dispatched"
    STEP_COMPLETED = "step.completed"
    STEP_FAILED = "step.failed"
    STEP_RETRYING = "step.retrying"
    STEP_PARKED = "step.parked"
    POLICY_DECIDED = "policy.decided"
    BUDGET_RESERVED = "budget.reserved"
    BUDGET_REFUSED = "budget.refused"
    BUDGET_SETTLED = "budget.settled"
    BUDGET_RELEASED = "budget.released"
    AGENT_ASSIGNED = "agent.assigned"
    AGENT_REFUSED = "agent.refused"
    MODEL_REPLIED = "model.replied"
    EFFECT_CLAIMED = "effect.claimed"
    EFFECT_SETTLED = "effect.settled"
    EFFECT_UNKNOWN = "effect.unknown"
    EFFECT_RESOLVED = "effect.resolved"
    APPROVAL_REQUESTED = "approval.requested"
    APPROVAL_DECIDED = "approval.decided"
    COMPENSATION_STARTED = "compensation.started"
    COMPENSATION_COMPLETED = "compensation.completed"
    COMPENSATION_FAILED = "compensation.failed"
    DELAY_STARTED = "delay.started"


def _real_time(value: str) -> str:
    datetime.fromisoformat(value)
    return value


type _Text = Annotated[str, Field(min_length=1, max_length=256)]
type _Time = Annotated[
    str,
    Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$"),
    AfterValidator(_real_time),
]
type _SmallInt = Annotated[int, Field(ge=-(2**53), le=2**53)]
type _Subject = dict[_Text, _SmallInt | Annotated[str, Field(max_length=256)]]


class _Public(BaseModel):
    """What fact and leaf have in common; none of it can be erased."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    id: _Text
    type: Annotated[str, Field(pattern=r"^[a-z_]{1,32}\.[a-z_]{1,32}$")]
    at: _Time
    actor: _Text
    subject: _Subject


class Leaf(_Public):
    """What the log commits to for good. Types of facts newer than this code verify all the same."""

    v: Literal[1] = 1
    run: Annotated[str, Field(pattern=f"^{ID_PATTERN}$")]
    seq: Annotated[int, Field(ge=0)]
    prev: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
    """The hash of the leaf before, in hex; empty in the first."""
    digest: Annotated[str, Field(pattern=_HEX_HASH)]
    """The SHA-256 of salt and payload, in hex."""

    @property
    def hash(self) -> bytes:
        """The leaf's hash in the tree."""
        return leaf_hash(encode(self.model_dump()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Something that happened, as its producer writes it down.

    ``id`` tells it from every other fact of the run; ``at`` is RFC 3339 in UTC with milliseconds
    (``2026-01-31T12:00:00.000Z``). ``subject`` holds small public ids and numbers (step, attempt,
    effect), never personal data: only the payload can be erased.

    Raises:
        InvalidInput: if the log could not hold it, so that a producer learns it at once.
    """

    id: str
    type: FactType
    at: str
    actor: str
    subject: Mapping[str, str | int] = field(default_factory=dict)
    payload: Json = None

    def __post_init__(self) -> None:
        try:
            encode(_Public.model_validate(self._public()).model_dump())
        except ValidationError as error:
            raise InvalidInput(f"a fact cannot be recorded: {first_problem(error)}", fact=self.id) from error
        except UnicodeEncodeError as error:
            raise InvalidInput("a fact holds half a surrogate pair", fact=self.id) from error
        canonical_payload(self.payload)

    def _public(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": str(self.type),
            "at": self.at,
            "actor": self.actor,
            "subject": dict(self.subject),
        }

    def to_json(self) -> dict[str, Json]:
        """Return the fact as a JSON value."""
        return {**self._public(), "payload": self.payload}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what ``to_json`` gave.

        Raises:
            InvalidInput: if it is not a fact.
        """
        try:
            return cls(**{**value, "type": FactType(value["type"])})
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput(f"this is not a fact: {error}") from error


@dataclass(frozen=True, slots=True)
class Record:
    """A leaf of the log, with its fact's payload and salt unless these were erased (salt None)."""

    leaf: Leaf
    salt: bytes | None
    payload: Json = None

    @property
    def seq(self) -> int:
        """The record's place in the log, from 0."""
        return self.leaf.seq

    @property
    def erased(self) -> bool:
        """Whether the payload is gone for good."""
        return self.salt is None

    def payload_agrees(self) -> bool:
        """Whether the payload is the one that the leaf commits to, or was erased."""
        return self.salt is None or payload_digest(self.salt, encode(self.payload)) == self.leaf.digest

    def erase(self) -> Record:
        """Return the record without its payload."""
        return replace(self, salt=None, payload=None)

    def to_json(self) -> dict[str, Json]:
        """Return ``{"leaf", "salt", "payload"}``, the salt in hex; only the leaf when erased."""
        leaf: dict[str, Json] = {"leaf": self.leaf.model_dump()}
        return leaf if self.salt is None else {**leaf, "salt": self.salt.hex(), "payload": self.payload}

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what ``to_json`` gave; whether the payload agrees is not checked.

        Raises:
            ValueError: if it has not the form of a record; the message says where.
        """
        match value:
            case {"leaf": leaf, **rest} if not rest:
                salt, payload = None, None
            case {"leaf": leaf, "salt": str(text), "payload": payload, **rest} if not rest:
                if not re.fullmatch(f"[0-9a-f]{{{2 * SALT_SIZE}}}", text):
                    raise ValueError("its salt is malformed")
                salt = bytes.fromhex(text)
            case _:
                raise ValueError("it does not hold a leaf, with or without both salt and payload")
        try:
            return cls(Leaf.model_validate(leaf), salt, payload)
        except ValidationError as error:
            raise ValueError(f"its leaf is malformed: {first_problem(error)}") from error


def payload_digest(salt: bytes, payload: bytes) -> str:
    """Return the digest that a leaf holds of a payload's canonical encoding."""
    return hashlib.sha256(salt + payload).hexdigest()


def first_problem(error: ValidationError) -> str:
    """Say in one line what the first thing is that does not validate."""
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(part) for part in problem["loc"])
    return f"{place}: {problem['msg']}" if place else problem["msg"]


@dataclass(frozen=True, slots=True)
class LogHead:
    """All that appending to a log needs to know of it."""

    run: str
    frontier: Frontier = field(default_factory=Frontier)
    last: str = ""
    """The hash of the last leaf, in hex."""

    @property
    def size(self) -> int:
        """How many records the log has."""
        return self.frontier.size

    @property
    def root(self) -> bytes:
        """The root of the log's tree."""
        return self.frontier.root

    def to_json(self) -> dict[str, Json]:
        """Return the head as a JSON value."""
        return {"run": self.run, "last": self.last, "frontier": self.frontier.to_json()}

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what ``to_json`` gave.

        Raises:
            Integrity: if it is not a log head.
        """
        match value:
            case {"run": str(run), "last": str(last), "frontier": frontier, **rest} if not rest:
                head = cls(run, Frontier.from_json(frontier), last)
                if re.fullmatch(r"[0-9a-f]{64}" if head.size else "", last):
                    return head
        raise Integrity("the stored head of the log is malformed")


def append(head: LogHead, facts: Sequence[Fact], salts: Sequence[bytes]) -> tuple[LogHead, list[Record]]:
    """Put the facts, in this order, at the end of the log; return its new head and the new records.

    ``salts`` are random, 16 bytes for each fact, and used for nothing else.

    Raises:
        InvalidInput: if the salts are not that, or the head's run cannot be the name of a run.
    """
    if len(salts) != len(facts) or any(len(salt) != SALT_SIZE for salt in salts):
        raise InvalidInput(f"{len(facts)} facts need as many salts of {SALT_SIZE} bytes")
    records = []
    for fact, salt in zip(facts, salts, strict=True):
        record = _record(head, fact, salt)
        digest = record.leaf.hash
        head = LogHead(head.run, head.frontier.append(digest), digest.hex())
        records.append(record)
    return head, records


def _record(head: LogHead, fact: Fact, salt: bytes) -> Record:
    try:
        leaf = Leaf(
            run=head.run,
            seq=head.size,
            id=fact.id,
            type=str(fact.type),
            at=fact.at,
            actor=fact.actor,
            subject=dict(fact.subject),
            prev=head.last,
            digest=payload_digest(salt, canonical_payload(fact.payload)),
        )
    except ValidationError as error:
        raise InvalidInput(f"a fact cannot be recorded: {first_problem(error)}", fact=fact.id) from error
    return Record(leaf, salt, fact.payload)
