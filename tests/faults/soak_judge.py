"""What must hold after a soak, looked up in the stopped host's databases and the ledger.

Each check yields what it finds violated, one line each.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from durabletask.client import OrchestrationStatus
from soak_ledger import Ledger
from soak_messages import MessageJudge
from soak_plan import ACCOUNTS, Plan, Work

_ORCHESTRATIONS = (
    "chain", "fan", "family", "outsourced", "counts", "transfer", "deposit", "patience", "collector",
    "renewing",
)  # fmt: skip
_COMPLETED = OrchestrationStatus.COMPLETED.value


def rows(database: Path, sql: str) -> list[tuple[Any, ...]]:
    """What a database holds; nothing while it does not exist yet."""
    if not database.exists():
        return []
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as connection:
        return connection.execute(sql).fetchall()


def unfinished(data: Path, plan: Plan) -> list[str]:
    """What is still under way in the hub; looked up while the host runs."""
    instances = dict(rows(data / "hub.db", "SELECT id, status FROM instances"))
    waiting = [work.id for work in instances_of(plan) if instances.get(work.id) != _COMPLETED]
    return waiting + [
        f"operations for {each}" for (each,) in rows(data / "hub.db", "SELECT DISTINCT target FROM inbox")
    ]


def instances_of(plan: Plan) -> Iterator[Work]:
    """Every orchestration that must have run, with its input."""
    yield from plan.of(*_ORCHESTRATIONS)
    for work in plan.of("job"):
        if (job := work.given["job"])["do"] == "start":
            yield Work(work.at_s, work.id, job["name"], job["input"])


def effects_of(plan: Plan) -> Iterator[str]:
    """Every effect that must have happened."""
    for work in instances_of(plan):
        match work.kind:
            case "chain":
                yield f"{work.id}/charge"
            case "family":
                yield from (f"{work.id}.{child}/charge" for child in range(3))
            case "transfer":
                yield f"{work.id}/fee"


class Judge:
    """The state that a soak left, and what it must look like."""

    def __init__(self, data: Path, plan: Plan, ledger: Ledger) -> None:
        hub = data / "hub.db"
        self._plan = plan
        self._ledger = ledger
        self._hub, self._bus = hub, data / "servicebus.db"
        self._instances = {
            each: (status, json.loads(output) if output else None)
            for each, status, output in rows(hub, "SELECT id, status, output FROM instances")
        }
        states = {
            each: json.loads(state)
            for each, state in rows(hub, "SELECT id, state FROM entities WHERE state IS NOT NULL")
        }
        self._states: dict[str, dict[str, Any]] = states
        self._done: dict[str, Counter[str]] = {
            each: Counter(state.get("operations", {})) for each, state in states.items()
        }
        self._attempts: dict[str, list[tuple[Any, str]]] = defaultdict(list)
        for effect, given, token in ledger.rows("SELECT effect, given, token FROM attempts"):
            self._attempts[effect].append((given, token))
        self._receipts = dict(ledger.rows("SELECT effect, receipt FROM effects"))

    @property
    def updates(self) -> int:
        """How many operations entities have carried out."""
        return sum(done.total() for done in self._done.values())

    def violations(self) -> list[str]:
        """Everything that is wrong."""
        checks = (self._databases, self._runs, self._effects, self._entities, self._money)
        own = [violation for check in checks for violation in check()]
        left = rows(self._bus, "SELECT entity, message_id, dl_reason FROM messages")
        return own + list(MessageJudge(left, self._plan, self._ledger).violations())

    # -- databases

    def _databases(self) -> Iterator[str]:
        for path in (self._hub, self._bus):
            for (verdict,) in rows(path, "PRAGMA integrity_check"):
                if verdict != "ok":
                    yield f"{path.name}: {verdict}"
        for table in ("inbox", "activities"):
            for (count,) in rows(self._hub, f"SELECT count(*) FROM {table}"):
                if count:
                    yield f"the hub keeps {count} rows of {table} for nobody"
        for instance, (status, _) in self._instances.items():
            if status != _COMPLETED:
                yield f"{instance} is {OrchestrationStatus(status).name}"
        for entity, holder in rows(
            self._hub, "SELECT id, locked_by FROM entities WHERE locked_by IS NOT NULL"
        ):
            yield f"{entity} is still locked by {holder}"

    # -- orchestrations

    def _runs(self) -> Iterator[str]:
        for work in instances_of(self._plan):
            status, output = self._instances.get(work.id, (None, None))
            if status != _COMPLETED:
                name = "lost" if status is None else OrchestrationStatus(status).name
                yield f"{work.id} is {name}, not completed"
            else:
                for violation in self._outcome(work, output):
                    yield f"{work.id}: {violation}"

    def _outcome(self, work: Work, output: Any) -> Iterator[str]:
        expected: Any = output
        match work.kind:
            case "chain":
                yield from self._chain(work.id, work.given, output)
            case "family":
                expected = [work.given] * 3
                for child in range(3):
                    name = f"{work.id}.{child}"
                    _, result = self._instances.get(name, (None, None))
                    yield from self._chain(name, work.given, result)
            case "outsourced":
                yield from self._outsourced(work.id, work.given, output)
            case "fan":
                expected = work.given * (work.given - 1)
            case "counts":
                expected = work.given["times"]
            case "transfer":
                expected = "moved"
            case "deposit":
                expected = "paid in"
            case "patience":
                expected = "done"
            case "collector":
                yield from _collected(work.given, output)
            case "renewing":
                expected = work.given["generations"]
                yield from self._steps(work.id, expected)
        if output != expected:
            yield f"its output is {output!r}, not {expected!r}"

    def _chain(self, name: str, steps: int, output: Any) -> Iterator[str]:
        if not output or len(output["tokens"]) != steps:
            yield f"{name} gave {output!r}"
            return
        yield from self._tokens(name, output["tokens"])
        if output["receipt"] != self._receipts.get(f"{name}/charge"):
            yield "its receipt is not that of the charge"

    def _outsourced(self, name: str, steps: int, output: list[str]) -> Iterator[str]:
        if len(output) != 1 + steps:
            yield f"it gave {output}"
        yield from self._tokens(name, output[:1])
        yield from self._tokens(f"{name}.distant", output[1:])

    def _tokens(self, name: str, tokens: list[str]) -> Iterator[str]:
        """Each step gave what its orchestration has of it."""
        yield from self._steps(name, len(tokens))
        for number, token in enumerate(tokens):
            if token not in [made for _, made in self._attempts[f"{name}/{number}"]]:
                yield f"step {number} never gave the {token} that its orchestration has"

    def _steps(self, name: str, steps: int) -> Iterator[str]:
        """Every execution of a step was given the same result of the step before: one that happened."""
        before: list[str] = []
        for number in range(steps):
            attempts = self._attempts[f"{name}/{number}"]
            given = {each for each, _ in attempts}
            if len(given) != 1:
                yield f"step {number} was run after different results of the step before: {given}"
            elif number and not given <= set(before):
                yield f"step {number} was run after {given}, which the step before never gave"
            before = [token for _, token in attempts]

    # -- effects

    def _effects(self) -> Iterator[str]:
        """Each guarded effect happened once, and none besides."""
        happened = Counter(effect for (effect,) in self._ledger.rows("SELECT effect FROM effects"))
        expected = set(effects_of(self._plan))
        for effect in expected - happened.keys():
            yield f"effect {effect} did not happen"
        for effect, times in happened.items():
            if times > 1:
                yield f"effect {effect} happened {times} times"
            if effect not in expected:
                yield f"effect {effect} happened, for which nobody asked"

    # -- entities

    def _entities(self) -> Iterator[str]:
        """Each acknowledged operation happened once, each other at most once, and none besides."""
        must, may = self._expected()
        for entity in must.keys() | self._done.keys():
            done = self._done.get(entity, Counter())
            for operation in must[entity] - done.keys():
                yield f"{entity} lost {operation}"
            for operation, times in done.items():
                if times > 1:
                    yield f"{entity} carried out {operation} {times} times"
                if operation not in must[entity] and operation not in may[entity]:
                    yield f"{entity} carried out {operation}, for which nobody asked"

    def _expected(self) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
        must: dict[str, set[str]] = defaultdict(set)
        may: dict[str, set[str]] = defaultdict(set)
        for entity, operation, acknowledged in self._ledger.rows(
            "SELECT entity, operation, acknowledged FROM updates"
        ):
            (must if acknowledged else may)[entity].add(operation)
        for work in self._plan.of("counts"):
            key = f"@counter@{work.given['key']}"
            for number in range(work.given["times"]):
                must[key] |= {f"{work.id}/{way}/{number}" for way in ("call", "signal", "relay")}
                must[f"{key}-relayed"].add(f"{work.id}/relay/{number}")
        for work in self._plan.of("renewing"):
            operations = {f"{work.id}/generation/{each}" for each in range(work.given["generations"])}
            must[f"@counter@{work.given['key']}"] |= operations
        for work in self._plan.of("transfer"):
            must[f"@account@{work.given['source']}"].add(f"{work.id}/out")
            must[f"@account@{work.given['target']}"].add(f"{work.id}/in")
        for work in self._plan.of("deposit"):
            must[f"@account@{work.given['account']}"] |= {f"{work.id}/signal", f"{work.id}/call"}
        return must, may

    def _money(self) -> Iterator[str]:
        balances = {name: self._states.get(f"@account@{name}", {}).get("balance", 0) for name in ACCOUNTS}
        expected = dict.fromkeys(ACCOUNTS, 0)
        for work in self._plan.of("transfer"):
            expected[work.given["source"]] -= work.given["amount"]
            expected[work.given["target"]] += work.given["amount"]
        for work in self._plan.of("deposit"):
            expected[work.given["account"]] += 2 * work.given["amount"]
        if balances != expected:
            yield f"the balances are {balances}, not {expected}"


def _collected(wanted: int, output: Any) -> Iterator[str]:
    """Each event that was acknowledged came, and none came twice."""
    attempts = Counter(each["attempt"] for each in output)
    yield from (f"event {each} came {times} times" for each, times in attempts.items() if times > 1)
    if {each["number"] for each in output} != set(range(wanted)):
        yield f"it collected {output}"
