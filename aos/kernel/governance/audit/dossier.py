"""A dossier: one run's whole log in a file that verifies offline, with a key from elsewhere.

JSON lines: a header ``{"format", "tenant", "run", "size"}``, a line for each record, and an end
``{"checkpoint", "last"}`` with the signed checkpoint and the hash of the last leaf. Every line is in
its canonical encoding and the file ends in one newline, so no byte can change unseen.

Each record but the first names the hash of the one before and ``last`` names the hash of the last:
with these the record that was changed can be told, where the root alone says only that one was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aos.kernel.canonical import Json, encode
from aos.kernel.errors import Integrity, InvalidInput
from aos.kernel.governance.audit.checkpoint import (
    Checkpoint,
    load_public_keys,
    parse_checkpoint,
    run_origin,
    verify_checkpoint,
)
from aos.kernel.governance.audit.encoding import MAX_DEPTH, decode
from aos.kernel.governance.audit.merkle import root_of
from aos.kernel.governance.audit.records import FactType, Record, first_problem
from aos.kernel.ids import ID_PATTERN

_MAX_USD = 1e15
"""Above it a number is no amount of money, and may not even be a float."""

type _Id = Annotated[str, Field(pattern=f"^{ID_PATTERN}$")]


class _Header(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    format: Literal["aos-dossier/1"] = "aos-dossier/1"
    tenant: _Id
    run: _Id
    size: Annotated[int, Field(ge=1)]


class _End(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    checkpoint: str
    last: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


@dataclass(frozen=True, slots=True)
class Verified:
    """What a dossier that verifies says of its run."""

    run: str
    tenant: str
    size: int
    root: bytes
    status: str | None
    """How the run ended; None where the payload that said so was erased."""
    started_at: str
    ended_at: str
    cost_usd: float | None
    """What the run cost; None where the payload that said so was erased or names no cost."""
    erased: int
    """How many records have had their payload erased."""


def build_dossier(tenant: str, run: str, records: Sequence[Record], checkpoint_text: str) -> bytes:
    """Return the dossier of a run's log.

    Raises:
        InvalidInput: if there is no record, or tenant or run is not an id.
    """
    try:
        header = _Header(tenant=tenant, run=run, size=len(records))
    except ValidationError as error:
        raise InvalidInput(f"no dossier can be made: {first_problem(error)}", run=run) from error
    end = _End(checkpoint=checkpoint_text, last=records[-1].leaf.hash.hex())
    values: list[Any] = [header.model_dump(), *(record.to_json() for record in records), end.model_dump()]
    return b"".join(encode(value) + b"\n" for value in values)


def verify_dossier(data: bytes, public_key_pem: bytes) -> Verified:
    """Check that this is the complete log of a run, as the holder of the key signed it.

    The key comes from outside: whoever made the dossier up could have put any key inside. It may be
    several, of a signer whose key changes: one of them signed.

    Raises:
        Integrity: if it is not; ``record`` in its details is the number of the first record that
            differs, or is missing, where that can be told, else None.
        InvalidInput: if the key is not a P-256 public key in PEM.
    """
    load_public_keys(public_key_pem)
    header, lines, end = _open(data)
    checkpoint = _checkpoint_of(end, header)
    records = _read_chain(lines, header.run, end.last)
    hashes = [record.leaf.hash for record in records]
    _check_size(header.size, len(records), checkpoint.size)
    _check_head(hashes, end, checkpoint.root, public_key_pem)
    _check_complete(records)
    return _summary(header, records, checkpoint)


def _refuse(record: int | None, message: str) -> NoReturn:
    raise Integrity(message, record=record)


def _open(data: bytes) -> tuple[_Header, list[bytes], _End]:
    """Split the file into header, the lines of the records, and end."""
    *lines, rest = data.split(b"\n")
    if not lines:
        _refuse(None, "This is not a dossier: it has no line.")
    header = _model(_Header, lines[0], "The header, line 1,")
    if rest:
        _refuse(None, "The dossier stops in the middle of a line: its tail was cut off.")
    if len(lines) < 2 or lines[-1].startswith(b'{"leaf":'):
        _refuse(None, "The dossier has no checkpoint at its end: its tail was cut off.")
    return header, lines[1:-1], _model(_End, lines[-1], "The checkpoint, the last line,")


def _model[M: BaseModel](model: type[M], line: bytes, what: str) -> M:
    try:
        return model.model_validate(decode(line))
    except ValidationError as error:
        _refuse(None, f"{what} is malformed: {first_problem(error)}.")
    except ValueError as error:
        _refuse(None, f"{what} is malformed: {error}.")


def _checkpoint_of(end: _End, header: _Header) -> Checkpoint:
    """Return the checkpoint, whose signature is not verified yet, if it is of the header's run."""
    try:
        checkpoint = parse_checkpoint(end.checkpoint).checkpoint
    except Integrity as error:
        raise Integrity(_sentence(error), record=None) from error
    if checkpoint.origin != run_origin(header.tenant, header.run):
        of = f"run {header.run} of tenant {header.tenant}"
        _refuse(None, f"The header says {of}, but the checkpoint is of {checkpoint.origin}.")
    return checkpoint


def _sentence(error: Integrity) -> str:
    return f"{error.message[0].upper()}{error.message[1:]}."


def _read_chain(lines: Sequence[bytes], run: str, last: str) -> list[Record]:
    """Read the records and check each against its place, the one before, and its payload."""
    records: list[Record] = []
    successors = [*lines[1:], _link(last)]
    for seq, (line, successor) in enumerate(zip(lines, successors, strict=True)):
        record = _read(line, seq)
        _check_place(record, seq, run)
        _check_link(records[-1] if records else None, record, successor)
        if not record.payload_agrees():
            _refuse(seq, f"The payload of {_name(record)} is not the one that was recorded.")
        records.append(record)
    return records


def _read(line: bytes, seq: int) -> Record:
    try:
        return Record.from_json(decode(line, max_depth=MAX_DEPTH + 1))
    except ValueError as error:
        _refuse(seq, f"Record {seq} is malformed: {error}.")


def _name(record: Record) -> str:
    return f"record {record.seq} ({record.leaf.type})"


def _check_place(record: Record, seq: int, run: str) -> None:
    if record.leaf.run != run:
        _refuse(seq, f"Record {seq} belongs to run {record.leaf.run}, not to {run}.")
    if record.seq > seq:
        _refuse(seq, f"Record {seq} is missing or out of its place: record {record.seq} stands there.")
    if record.seq < seq:
        _refuse(seq, f"Record {record.seq} stands in the place of record {seq}.")


def _check_link(before: Record | None, record: Record, successor: bytes) -> None:
    """Check that the record names the hash of the one before.

    If not, one of the two was changed: where the successor vouches for this one, the one before.
    """
    if record.leaf.prev == (before.leaf.hash.hex() if before else ""):
        return
    vouched = _link(record.leaf.hash.hex()) in successor
    changed = before if before is not None and vouched else record
    _refuse(changed.seq, f"{_name(changed).capitalize()} was changed after it was recorded.")


def _link(leaf_hash: str) -> bytes:
    """Return what a line holds that names this hash as that of the record before it."""
    return b'"prev":"' + leaf_hash.encode() + b'"'


def _check_size(stated: int, present: int, signed: int) -> None:
    if signed > present:
        missing = f"The checkpoint covers {signed} records, but the dossier holds {present}"
        _refuse(present, f"{missing}: record {present} and what follows are missing.")
    if signed < present:
        covered = f"The dossier holds {present} records, but the checkpoint covers only {signed}"
        _refuse(None, f"{covered}: it is an older one, or records were added.")
    if stated != present:
        _refuse(None, f"The header says {stated} records, but the dossier holds {present}.")


def _check_head(hashes: Sequence[bytes], end: _End, root: bytes, public_key_pem: bytes) -> None:
    """Check the last leaf, then the signature, then, the checkpoint being genuine, the root."""
    last, rooted = len(hashes) - 1, root_of(hashes) == root
    if hashes[last].hex() != end.last:
        if rooted:
            _refuse(None, "The hash that the dossier states of its last record is not that record's hash.")
        _refuse(last, f"Record {last}, the last, was changed after it was recorded.")
    try:
        verify_checkpoint(end.checkpoint, public_key_pem)
    except Integrity as error:
        raise Integrity(_sentence(error), record=None) from error
    if not rooted:
        _refuse(None, "The records agree with each other but not with the checkpoint: the log was rewritten.")


def _check_complete(records: Sequence[Record]) -> None:
    """Check that the log is a whole run: a beginning, an end, and neither of them twice."""
    last = records[-1]
    for record in records:
        if (record.leaf.type == FactType.RUN_STARTED) != (record.seq == 0):
            _refuse(record.seq, f"A run's log begins with run.started: {_name(record)} is out of order.")
        if record.leaf.type == FactType.RUN_ENDED and record is not last:
            _refuse(record.seq, f"{_name(record).capitalize()} ends the run, but records follow.")
    if last.leaf.type != FactType.RUN_ENDED:
        _refuse(None, f"The log is not complete: it ends in {last.leaf.type}, not in run.ended.")


def _summary(header: _Header, records: Sequence[Record], checkpoint: Checkpoint) -> Verified:
    ended = records[-1].payload
    payload: dict[str, Json] = ended if isinstance(ended, dict) else {}
    status = payload.get("status")
    return Verified(
        run=header.run,
        tenant=header.tenant,
        size=len(records),
        root=checkpoint.root,
        status=status if isinstance(status, str) else None,
        started_at=records[0].leaf.at,
        ended_at=records[-1].leaf.at,
        cost_usd=_usd(payload.get("cost_usd")),
        erased=sum(record.erased for record in records),
    )


def _usd(value: Json) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < _MAX_USD else None
