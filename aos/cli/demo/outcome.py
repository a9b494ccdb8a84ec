"""What came of a proposal, and what should have."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

WORKFLOW = "strategic-review"
EXPECTED_DECISIONS = {
    "warehouse-automation": "approve",
    "loyalty-platform": "reject",
    "battery-storage": "approve",
}
"""What the mock decides, as it only repeats what the tools compute. A language model may differ."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A review that has ended."""

    name: str
    proposal: Mapping[str, Any]
    run: Mapping[str, Any]
    answers: Mapping[str, Any]
    """What the agents said, of all of them together: npv_usd, payback_years, delivery_risk, score..."""
    models: tuple[str, ...]
    """Which models answered, as ``provider model``; the mock has no model."""
    calls: Mapping[str, Any] = field(default_factory=dict)
    """The result of each tool call that changed something, by step; compensations as ``step~undo``."""
    records: int | None = None
    """How many records the dossier was verified to hold; None: it was refused."""
    refusal: str | None = None

    @property
    def decision(self) -> str | None:
        """The CEO's decision."""
        return self.answers.get("decision")

    def states(self) -> dict[str, str]:
        """Return the state of each step."""
        return {step["id"]: step["state"] for step in self.run["steps"]}


def read_dossier(dossier: bytes) -> tuple[dict[str, Any], tuple[str, ...], dict[str, Any]]:
    """Return the agents' answers, the models, and the results of effects, as a dossier tells them."""
    answers: dict[str, Any] = {}
    calls: dict[str, Any] = {}
    models: dict[str, None] = {}
    for leaf, payload in _records(dossier):
        subject = leaf["subject"]
        if leaf["type"] == "model.replied":
            models[" ".join(dict.fromkeys((subject["provider"], subject["model"])))] = None
            answers |= _answer(payload["reply"].get("text"))
        elif leaf["type"] == "effect.settled" and payload["ok"]:
            calls[subject["step"]] = payload["value"]
    return answers, tuple(models), calls


def _records(dossier: bytes) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for line in dossier.splitlines():
        value = json.loads(line)
        if "leaf" in value:
            yield value["leaf"], value.get("payload") or {}


def _answer(text: str | None) -> dict[str, Any]:
    """Return the object that an agent answered with; nothing for a turn that only calls tools."""
    try:
        value = json.loads((text or "").strip().removeprefix("```json").removesuffix("```"))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def differences(outcome: Outcome, *, mock: bool) -> Iterable[str]:
    """Say what did not come out as it should: nothing, if all did."""
    if outcome.refusal is not None:
        yield f"its dossier is refused: {outcome.refusal}"
    expected = EXPECTED_DECISIONS.get(outcome.name)
    if mock and expected and outcome.decision != expected:
        yield f"the decision is {outcome.decision}, not {expected}"
    states = outcome.states()
    for name, wanted in _expected_states(outcome).items():
        if states.get(name) != wanted:
            yield f"step {name} is {states.get(name)}, not {wanted}"
    failing = outcome.decision == "approve" and not _can_launch(outcome.proposal)
    status = "failed" if failing else "completed"
    if outcome.run["status"] != status:
        yield f"the run is {outcome.run['status']}, not {status}"
    undone = [(undo["step"], undo["state"]) for undo in outcome.run["compensations"]]
    if undone != ([("reserve", "completed")] if failing else []):
        yield f"compensations are {undone or 'none'}"


def _expected_states(outcome: Outcome) -> dict[str, str]:
    states = dict.fromkeys(("finance", "technology", "decide"), "completed")
    if outcome.decision != "approve":
        return states | dict.fromkeys(("board", "reserve", "launch"), "skipped")
    launch = "completed" if _can_launch(outcome.proposal) else "failed"
    return states | {"board": "completed", "reserve": "completed", "launch": launch}


def _can_launch(proposal: Mapping[str, Any]) -> bool:
    launch = proposal["launch"]
    return bool(launch["vendor_confirmed"]) and launch["launch_date"] >= launch["earliest_start"]
