"""The log of a run: one sequencer puts facts into it, anybody reads them in their order.

The log's bytes are the truth. The row beside it remembers the head, so that an append need not read
the log; where a crash left the row behind, the head is made good from the bytes.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aos.kernel.canonical import encode
from aos.kernel.errors import Conflict, Integrity
from aos.kernel.governance.audit.checkpoint import Checkpoint, run_origin, sign_checkpoint
from aos.kernel.governance.audit.dossier import build_dossier
from aos.kernel.governance.audit.records import SALT_SIZE, Fact, LogHead, Record, append
from aos.services.audit.keyring import Keyring
from aos.services.storage import layout
from aos.services.storage.ports import Blobs, Stale
from aos.services.storage.storage import Storage

HEADS = layout.LOG_HEADS
_HEAD = "head"
_CHECKPOINT = "checkpoint"
BATCH_BYTES = 2 * 1024 * 1024
"""How much of a log is appended at once, but for a record that is larger by itself."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a log ends: in records, and in bytes."""

    head: LogHead
    bytes: int


class RunLog:
    """The logs of the runs of one tenant.

    ``archive`` keeps each signed checkpoint where nobody can change or remove it for years: who could
    rewrite a log and its head could not unsay what was signed of it before.
    """

    def __init__(self, storage: Storage, tenant: str, keyring: Keyring, archive: Blobs | None = None) -> None:
        self._storage = storage
        self._tenant = tenant
        self._keyring = keyring
        self._archive = archive

    async def append(self, run: str, expected_size: int, facts: Sequence[Fact]) -> int:
        """Put ``facts`` after the first ``expected_size`` records; return the log's size in records.

        Doing it again is a no-op. The caller is the run's only sequencer.

        Raises:
            Conflict: other records stand in that place.
        """
        done, size = 0, expected_size
        while done < len(facts):
            position = await self._position(run)
            size = position.head.size
            if size != expected_size + done:
                done = await self._found(run, size, expected_size, facts)
                continue
            head, data = _batch(position.head, facts[done:])
            try:
                length = await self._storage.logs.append(self._name(run), position.bytes, data)
            except Stale:
                continue
            await self._remember(run, Position(head, length))
            done, size = done + head.size - size, head.size
        return size

    async def read(self, run: str, after: int = 0) -> list[Record]:
        """Return the records from number ``after`` on."""
        data = await self._storage.logs.read(self._name(run))
        return [_record(line) for line in data.splitlines()[after:]]

    async def size(self, run: str) -> int:
        """Return how many bytes the log has: cheaper than reading it, to see that it grew."""
        return await self._storage.logs.size(self._name(run))

    async def checkpoint(self, run: str) -> str:
        """Sign the log as it stands, keep the checkpoint in the archive and beside the log, and return it."""
        position = await self._position(run)
        head = position.head
        signed = await sign_checkpoint(
            await self._keyring.signer(), Checkpoint(run_origin(self._tenant, run), head.size, head.root)
        )
        if self._archive is not None:
            await self._archive.put(layout.CHECKPOINTS, self._name(run), signed.encode())
        await self._storage.rows.upsert(HEADS, run, _CHECKPOINT, {"text": signed, "size": head.size})
        return signed

    async def dossier(self, run: str) -> bytes:
        """Return the dossier of a run that ended.

        Raises:
            Conflict: the run has not ended, so that no checkpoint covers its end.
        """
        row = await self._storage.rows.get(HEADS, run, _CHECKPOINT)
        if row is None:
            raise Conflict(f"run {run} has not ended: its dossier is complete when it has", run=run)
        return build_dossier(self._tenant, run, await self.read(run), row.value["text"])

    async def _found(self, run: str, size: int, expected: int, facts: Sequence[Fact]) -> int:
        """Return how many of the facts the log has in their place already."""
        records = await self.read(run, after=expected)
        found = [record.leaf.id for record in records[: len(facts)]]
        if size < expected or found != [fact.id for fact in facts[: len(found)]]:
            raise Conflict(
                f"the log of run {run} has other records than these after the first {expected}",
                run=run,
                found=found,
            )
        return len(found)

    async def _position(self, run: str) -> Position:
        """Return where the log ends, making good a head that a crash left behind."""
        row = await self._storage.rows.get(HEADS, run, _HEAD)  # first: the log only grows meanwhile
        size = await self._storage.logs.size(self._name(run))
        known = Position(LogHead(run), 0)
        if row is not None:
            known = Position(LogHead.from_json(row.value["head"]), row.value["bytes"])
        if size == known.bytes:
            return known
        if size < known.bytes:
            raise Integrity(f"the log of run {run} is shorter than its head says", run=run)
        tail = await self._storage.logs.read(self._name(run), offset=known.bytes)
        return Position(_replayed(known.head, tail), known.bytes + len(tail))

    async def _remember(self, run: str, position: Position) -> None:
        value = {"head": position.head.to_json(), "bytes": position.bytes}
        await self._storage.rows.upsert(HEADS, run, _HEAD, value)

    def _name(self, run: str) -> str:
        return f"{self._tenant}.{run}"


def _batch(head: LogHead, facts: Sequence[Fact]) -> tuple[LogHead, bytes]:
    """Return the records of as many facts as are appended at once, at least one, and the head after them."""
    data = bytearray()
    for fact in facts:
        after, (record,) = append(head, [fact], [secrets.token_bytes(SALT_SIZE)])
        line = encode(record.to_json()) + b"\n"
        if data and len(data) + len(line) > BATCH_BYTES:
            break
        data += line
        head = after
    return head, bytes(data)


def _record(line: bytes) -> Record:
    return Record.from_json(json.loads(line))


def _replayed(head: LogHead, data: bytes) -> LogHead:
    for line in data.splitlines():
        leaf_hash = _record(line).leaf.hash
        head = LogHead(head.run, head.frontier.append(leaf_hash), leaf_hash.hex())
    return head


def event_of(record: Record) -> dict[str, Any]:
    """Return the record as an event for people and programs that follow a run."""
    leaf = record.leaf
    return {
        "seq": leaf.seq,
        "id": leaf.id,
        "type": leaf.type,
        "at": leaf.at,
        "actor": leaf.actor,
        "subject": dict(leaf.subject),
        "payload": record.payload,
    }
