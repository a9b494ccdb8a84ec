"""A run as text: figures, durations, and lines for what changed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from aos.cli.output import one_line

type Json = Mapping[str, Any]

UNDO = "~undo"
"""What the name of a step ends with where its compensation is meant."""

_SMALLEST_SHOWN_USD = 0.0001
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400
_UNSEEN: Json = {"state": "waiting", "attempt": 0}


def money(usd: float) -> str:
    """Return an amount as people read it; what is not quite nothing is not shown as nothing."""
    if usd == 0:
        return "$0"
    if usd < _SMALLEST_SHOWN_USD:
        return f"<${_SMALLEST_SHOWN_USD}"
    return f"${usd:.4f}" if usd < 1 else f"${usd:,.2f}"


def span(seconds: float) -> str:
    """Return a duration as people read it."""
    if seconds < _MINUTE_S:
        return f"{seconds:.1f} s"
    if seconds < _HOUR_S:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    if seconds < _DAY_S:
        return f"{int(seconds // _HOUR_S)} h {int(seconds % _HOUR_S // 60)} min"
    return f"{int(seconds // _DAY_S)} d {int(seconds % _DAY_S // _HOUR_S)} h"


def tokens(run: Json) -> str:
    """Return how many tokens a run took and gave."""
    return f"{run['input_tokens']:,} + {run['output_tokens']:,} tokens"


def took(part: Json, now: datetime | None = None) -> str:
    """Return how long a part of a run has taken, or took; empty before it began."""
    begun = part.get("started_at") or part.get("created_at")
    if begun is None:
        return ""
    end = datetime.fromisoformat(part["ended_at"]) if part["ended_at"] else now or datetime.now(UTC)
    return span(max(0.0, (end - datetime.fromisoformat(begun)).total_seconds()))


def what(step: Json) -> str:
    """Return what a step does: the agent or the tool, or its kind."""
    return str(step["agent"] or step["tool"] or step["kind"])


def outcome_line(run: Json) -> str:
    """Return how a run stands, in one line."""
    text = f"{run['status']}  {took(run)}  {money(run['cost_usd'])}  {tokens(run)}"
    return f"{text}  {one_line(run['reason'])}" if run["reason"] else text


def action_text(action: Json) -> str:
    """Return an action as it is approved: all of it, so that nothing is approved unseen."""
    arguments = json.dumps(action["arguments"], ensure_ascii=False, indent=2, sort_keys=True)
    return f"{action['kind']} {action['name']} {arguments}"


def stages(steps: Sequence[Json]) -> list[list[Json]]:
    """Group steps by how many others must come before them: those in one group can run side by side."""
    depth: dict[str, int] = {}
    pending = {step["id"]: step["needs"] for step in steps}
    while pending:
        ready = {name for name, needs in pending.items() if all(need in depth for need in needs)}
        for name in ready or set(pending):
            depth[name] = 1 + max((depth.get(need, 0) for need in pending.pop(name)), default=0)
    return [[step for step in steps if depth[step["id"]] == level] for level in sorted(set(depth.values()))]


def open_approvals(run: Json) -> list[Json]:
    """Return the approvals that wait for a person."""
    return [approval for approval in run["approvals"] if approval["state"] == "requested"]


def unknown_effects(run: Json) -> list[Json]:
    """Return the effects of which nobody knows whether they happened."""
    return [effect for effect in run["effects"] if effect["state"] == "unknown"]


def changes(before: Json | None, run: Json) -> Iterator[str]:
    """Say in lines what is new in a run since it was last looked at."""
    steps = _by(before, "steps", "id")
    known = _by(before, "approvals", "step")
    asked = {approval["step"]: approval for approval in run["approvals"]}
    for step in run["steps"]:
        name = step["id"]
        approval = asked.get(name)
        new = approval is not None and approval["state"] != known.get(name, {}).get("state")
        if approval is not None and new and approval["state"] != "requested":
            yield f"  {name:<18}  {decided(approval)}"
        if _stand(step) != _stand(steps.get(name, _UNSEEN)):
            yield f"  {name:<18}  {what(step):<18}  {_end(step)}"
        if approval is not None and new and approval["state"] == "requested":
            yield f"{'':<20}  {one_line(approval['prompt']) or one_line(action_text(approval['action']))}"
            yield f"{'':<20}  {how_to_approve(run['id'], approval)}"
    lost = {effect["id"] for effect in unknown_effects(before)} if before else set()
    for effect in unknown_effects(run):
        if effect["id"] not in lost:
            yield f"  {effect['step']:<18}  {lost_effect(run['id'], effect)}"
    undone = _by(before, "compensations", "step")
    for undo in run["compensations"]:
        if _stand(undo) != _stand(undone.get(undo["step"], _UNSEEN)):
            yield f"  {'undo ' + undo['step']:<18}  {undo['tool'] or '':<18}  {_end(undo)}"


def _by(run: Json | None, parts: str, name: str) -> dict[str, Json]:
    return {part[name]: part for part in (run or {}).get(parts, ())}


def _stand(part: Json) -> tuple[str, int]:
    return part["state"], part["attempt"]


def decided(approval: Json) -> str:
    """Say what became of an approval, by whom and why."""
    by = f" by {approval['actor']}" if approval["actor"] else ""
    reason = f": {approval['reason']}" if approval["reason"] else ""
    return one_line(f"{approval['state']}{by}{reason}")


def lost_effect(run_id: str, effect: Json) -> str:
    """Say what an operator has to decide of an effect, and how."""
    note = f" ({one_line(effect['note'])})" if effect["note"] else ""
    how = f"aos resolve {run_id} {effect['id']} --happened|--not-happened --reason TEXT"
    return f"nobody knows whether an effect happened{note}: {how}"


def how_to_approve(run_id: str, approval: Json) -> str:
    """Say how an approval is given."""
    return f"needs {approval['role']}: aos approve {run_id} {approval['step']} [--reject] --reason TEXT"


def _end(part: Json) -> str:
    words = [part["state"].replace("_", " ")]
    if part["attempt"] > 1:
        words.append(f"attempt {part['attempt']}")
    if part["ended_at"] and part["started_at"]:
        words.append(took(part))
    if part.get("cost_usd"):
        words.append(money(part["cost_usd"]))
    if part["reason"]:
        words.append(one_line(part["reason"]))
    return "  ".join(words)
