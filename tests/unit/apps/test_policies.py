from typing import Any

import pytest

from aos.kernel.canonical import Json
from aos.kernel.governance.policy import Entity, PolicyDecision, PolicyRequest, Verdict
from aos.services.governance.cedar import CedarEngine
from apps.leadership import application

RUN, AGENT = Entity("Run", "run-1"), Entity("Agent", "ceo")
EVERY_TOOL = [tool.name for tool in application.tools]


@pytest.fixture(scope="module")
def engine() -> CedarEngine:
    assert application.policies is not None
    return CedarEngine.load([application.policies], [tool.definition for tool in application.tools])


def ask(
    engine: CedarEngine, principal: Entity, tool: str, arguments: dict[str, Any], *approved: str
) -> PolicyDecision:
    context: dict[str, Json] = {"tenant": "acme", "arguments": arguments, "approved_roles": list(approved)}
    entities: dict[Entity, dict[str, Json]] = {principal: {"tools": list(EVERY_TOOL)}}
    return engine.decide(PolicyRequest(principal, "tool.call", Entity("Tool", tool), context, entities))


@pytest.mark.parametrize("agent", application.agents, ids=lambda agent: agent.name)
def test_each_agent_may_call_its_own_tools_only(engine: CedarEngine, agent: Any) -> None:
    principal = Entity("Agent", agent.name)
    allowed = set()
    for tool in EVERY_TOOL:
        entities = {principal: {"tools": list(agent.definition.tools)}}
        request = PolicyRequest(principal, "tool.call", Entity("Tool", tool), {"tenant": "acme"}, entities)
        if engine.decide(request).allowed:
            allowed.add(tool)
    assert allowed == set(agent.definition.tools)


@pytest.mark.parametrize("tool", ["reserve_funds", "release_funds", "launch_project"])
def test_no_agent_spends_or_launches_even_if_its_definition_says_so(engine: CedarEngine, tool: str) -> None:
    decision = ask(engine, AGENT, tool, {"amount_usd": 1.0}, "approver")
    assert decision.verdict is Verdict.DENY
    assert "leadership-agents-neither-spend-nor-launch" in decision.policies


def test_a_run_reserves_funds_once_the_board_has_approved(engine: CedarEngine) -> None:
    before = ask(engine, RUN, "reserve_funds", {"amount_usd": 4_200_000})
    assert before.verdict is Verdict.REQUIRES_APPROVAL
    assert (before.policies, before.roles) == (("leadership-reservations-need-the-board",), ("approver",))
    assert ask(engine, RUN, "reserve_funds", {"amount_usd": 4_200_000}, "approver").allowed


def test_another_role_is_not_the_board(engine: CedarEngine) -> None:
    decision = ask(engine, RUN, "reserve_funds", {"amount_usd": 1}, "operator")
    assert decision.verdict is Verdict.REQUIRES_APPROVAL


@pytest.mark.parametrize(("amount", "allowed"), [(5_000_000, True), (5_000_000.01, False)])
def test_no_approval_lifts_the_ceiling(engine: CedarEngine, amount: float, allowed: bool) -> None:
    decision = ask(engine, RUN, "reserve_funds", {"amount_usd": amount}, "approver")
    assert decision.allowed is allowed
    assert allowed or decision.policies[0] == "leadership-reservation-ceiling"


def test_a_reservation_of_no_stated_amount_is_denied(engine: CedarEngine) -> None:
    assert ask(engine, RUN, "reserve_funds", {}, "approver").verdict is Verdict.DENY


@pytest.mark.parametrize("tool", ["release_funds", "launch_project"])
def test_a_run_releases_and_launches_without_asking_anybody(engine: CedarEngine, tool: str) -> None:
    assert ask(engine, RUN, tool, {}).allowed
