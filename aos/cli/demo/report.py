"""What the demonstration tells of each proposal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aos.cli.demo.outcome import Outcome
from aos.cli.demo.review import BOARDS_REASON, dossier_file
from aos.cli.output import one_line, say
from aos.cli.view import money, tokens, took


def print_outcome(outcome: Outcome, folder: Path) -> None:
    """Print a proposal's decision with its figures, what was done and undone, cost and dossier."""
    run, answers = outcome.run, outcome.answers
    _line("decision", f"{outcome.decision or 'none'}, score {_figure(answers.get('score'), '.2f')}")
    _line("figures", _figures(answers))
    _line("because", one_line(answers.get("rationale", "-")))
    for approval in run["approvals"]:
        amount = approval["action"]["arguments"].get("amount_usd")
        action = f"{approval['action']['name']} of {_figure(amount, ',.0f')} USD"
        _line(
            "board", f"{approval['state']} {action}, action {approval['action_hash'][:12]}: {BOARDS_REASON}"
        )
    if reserved := outcome.calls.get("reserve"):
        _line("reserved", f"{reserved['reserved_usd']:,.0f} USD")
    if launched := outcome.calls.get("launch"):
        _line("launched", f"project {launched['project_id'][:12]} on {launched['launch_date']}")
    if released := outcome.calls.get("reserve~undo"):
        _line("released", f"{released['released_usd']:,.0f} USD, the reservation's compensation")
    reason = f": {one_line(run['reason'])}" if run["reason"] else ""
    _line("outcome", f"run {run['status']}{reason}")
    _line("cost", f"{money(run['cost_usd'])}, {tokens(run)}, {took(run)}, by {' and '.join(outcome.models)}")
    file = dossier_file(folder, outcome.name)
    verified = (
        f"{outcome.records} records, verified" if outcome.refusal is None else f"REFUSED: {outcome.refusal}"
    )
    _line("dossier", f"{file}: {verified}")
    say()


def as_json(outcome: Outcome, folder: Path, problems: list[str]) -> dict[str, Any]:
    """Return the same for a program."""
    return {
        "proposal": outcome.name,
        "decision": outcome.decision,
        "figures": dict(outcome.answers),
        "effects": dict(outcome.calls),
        "models": list(outcome.models),
        "dossier": str(dossier_file(folder, outcome.name)),
        "records": outcome.records,
        "problems": problems,
        "run": dict(outcome.run),
    }


def _figures(answers: Any) -> str:
    payback = answers.get("payback_years")
    back = "never pays back" if payback is None else f"pays back in {_figure(payback, '.1f')} years"
    return (
        f"net present value {_figure(answers.get('npv_usd'), ',.0f')} USD, {back},"
        f" {_figure(answers.get('delivery_risk'), '.0%')} risk to miss the deadline"
        f" ({one_line(answers.get('riskiest_component', '-'))})"
    )


def _figure(value: Any, form: str) -> str:
    return format(value, form) if isinstance(value, int | float) else "-"


def _line(name: str, text: str) -> None:
    say(f"  {name:<9}  {text}")
