"""A run goes on when what it cannot do without comes back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from durabletask.task import RetryPolicy
from hub import open_hub

from aos.functions import outcomes, workflow_shell
from aos.kernel.workflows.plan import PlannedStep, plan_to_json

STEP = PlannedStep("a", "delay", (), True, 10.0, 1, 1.0, 2.0, 60.0, False)
FAILURES = 2 * outcomes.PATIENT.max_number_of_attempts


@pytest.mark.parametrize("failing", ["begin_run", "append_facts", "end_run"])
def test_a_run_outlives_an_outage_that_is_longer_than_a_step_s_patience(
    failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = outcomes.ENDURING.max_number_of_attempts
    at_once = RetryPolicy(first_retry_interval=timedelta(0), max_number_of_attempts=attempts)
    monkeypatch.setattr(workflow_shell, "ENDURING", at_once)
    begun = {"ended": False, "tenant": "t", "plan": plan_to_json({"a": STEP}), "budgets": [], "facts": []}
    skipped = {"result": "skipped", "reason": None, "seconds": 0.0, "facts": []}
    answers: dict[str, Any] = {"begin_run": begun, "prepare_step": skipped, "evaluate_output": None}
    answers |= {"append_facts": 1, "end_run": None}
    calls = dict.fromkeys(answers, 0)

    def activity(name: str) -> Any:
        def act(_: Any) -> Any:
            calls[name] += 1
            if name == failing and calls[name] <= FAILURES:
                raise OSError("storage does not answer")
            return answers[name]

        return act

    with open_hub({name: activity(name) for name in answers}) as hub:
        assert hub.run("workflow", {"run": "r1"}) == {"status": "completed"}
    assert calls[failing] > FAILURES
