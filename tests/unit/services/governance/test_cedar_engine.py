from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aos.kernel.agents.definition import Effect, ToolDefinition
from aos.kernel.canonical import Json
from aos.kernel.errors import InvalidSetting
from aos.kernel.governance.policy import Entity, PolicyDecision, PolicyEngine, PolicyRequest, Verdict
from aos.services.governance import CedarEngine


def tool(name: str, **properties: Any) -> ToolDefinition:
    return ToolDefinition(name, name, {"type": "object", "properties": properties}, Effect.IDEMPOTENT)


TOOLS = (
    tool(
        "reserve_funds",
        amount_usd={"type": "number"},
        count={"type": "integer"},
        purpose={"anyOf": [{"type": "string"}, {"type": "null"}]},
        urgent={"type": "boolean"},
        tags={"type": "array", "items": {"type": "string"}},
        mixed={"type": "string"},
    ),
    tool("npv", amount_usd={"type": "integer"}, flows={"type": "array"}, mixed={"type": "integer"}),
)
AGENT, USER, RUN = Entity("Agent", "cfo"), Entity("User", "ada"), Entity("Run", "r1")
RESERVE = Entity("Tool", "reserve_funds")
LARGE = """
@id("large") @requires_approval("board")
forbid (principal, action == Action::"tool.call", resource == Tool::"reserve_funds")
when { context.arguments has amount_usd && context.arguments.amount_usd.greaterThan(decimal("100000.0")) };
"""


def engine(folder: Path, *policies: str) -> CedarEngine:
    for number, text in enumerate(policies):
        (folder / f"{number}.cedar").write_text(text)
    return CedarEngine.load([folder], TOOLS)


def call(amount: Json = 5, *, approved: tuple[str, ...] = (), **context: Json) -> PolicyRequest:
    given: dict[str, Json] = {"tenant": "t", "arguments": {"amount_usd": amount}, **context}
    if approved:
        given |= {"approved_roles": list(approved), "approved_by": ["bea"]}
    return PolicyRequest(AGENT, "tool.call", RESERVE, given, {AGENT: {"tools": ["reserve_funds", "npv"]}})


def asked(principal: Entity, action: str, resource: Entity, **attributes: dict[str, Json]) -> PolicyRequest:
    entities = {entity: attributes.get(entity.type, {}) for entity in (principal, resource)}
    return PolicyRequest(principal, action, resource, {"tenant": "t"}, entities)


def test_an_agent_calls_the_tools_of_its_definition_and_no_other():
    base: PolicyEngine = CedarEngine.load()
    decision = base.decide(call())
    assert decision == PolicyDecision(Verdict.ALLOW, ("aos-agents-call-the-tools-of-their-definition",))
    assert base.decide(replace(call(), resource=Entity("Tool", "pay"))) == PolicyDecision(Verdict.DENY)


def test_an_agent_of_which_nothing_is_said_may_call_nothing():
    assert CedarEngine.load().decide(replace(call(), entities={})) == PolicyDecision(Verdict.DENY)


@pytest.mark.parametrize(
    ("request_", "verdict"),
    [
        (asked(USER, "run.start", Entity("Workflow", "w"), User={"roles": ["operator"]}), "allow"),
        (asked(USER, "run.start", Entity("Workflow", "w"), User={"roles": ["viewer"]}), "deny"),
        (asked(USER, "run.cancel", RUN, User={"roles": ["operator"]}), "allow"),
        (asked(USER, "effect.resolve", Entity("Effect", "e"), User={"roles": ["operator"]}), "allow"),
        (asked(USER, "effect.resolve", Entity("Effect", "e"), User={"roles": ["approver"]}), "deny"),
        (
            asked(
                USER,
                "approval.decide",
                Entity("Approval", "a"),
                User={"roles": ["board"]},
                Approval={"role": "board"},
            ),
            "allow",
        ),
        (
            asked(
                USER,
                "approval.decide",
                Entity("Approval", "a"),
                User={"roles": ["approver", "operator"]},
                Approval={"role": "board"},
            ),
            "deny",
        ),
        (asked(RUN, "agent.ask", AGENT, Run={"agents": ["cfo"]}), "allow"),
        (asked(RUN, "agent.ask", AGENT, Run={"agents": ["cto"]}), "deny"),
        (asked(RUN, "tool.call", RESERVE, Run={"tools": ["reserve_funds"]}), "allow"),
        (asked(AGENT, "model.infer", Entity("Model", "m")), "allow"),
        (asked(RUN, "message.publish", Entity("Topic", "news")), "deny"),
        (asked(AGENT, "memory.read", Entity("Memory", "m")), "deny"),
        (asked(AGENT, "memory.write", Entity("Memory", "m")), "deny"),
    ],
)
def test_what_is_permitted_before_an_application_says_anything(request_: PolicyRequest, verdict: str):
    decision = CedarEngine.load().decide(request_)
    assert (decision.verdict, decision.errors) == (verdict, ())


def test_an_application_permits_and_forbids(tmp_path: Path):
    policies = engine(
        tmp_path,
        '@id("publish") permit (principal is Run, action == Action::"message.publish", resource);',
        '@id("no-cto") forbid (principal == Agent::"cfo", action, resource == Tool::"npv");',
    )
    assert policies.decide(asked(RUN, "message.publish", Entity("Topic", "news"))).policies == ("publish",)
    denied = policies.decide(replace(call(), resource=Entity("Tool", "npv")))
    assert denied == PolicyDecision(Verdict.DENY, ("no-cto",))


def test_a_forbid_with_requires_approval_asks_for_that_role(tmp_path: Path):
    policies = engine(tmp_path, LARGE)
    assert policies.decide(call(100_000)).allowed
    assert policies.decide(call(100_000.01)) == PolicyDecision(
        Verdict.REQUIRES_APPROVAL, ("large",), ("board",)
    )


def test_an_approval_lifts_the_forbid_that_asked_for_it_and_the_decision_names_both(tmp_path: Path):
    policies = engine(tmp_path, LARGE)
    decision = policies.decide(call(200_000, approved=("board",)))
    assert decision == PolicyDecision(
        Verdict.ALLOW, ("aos-agents-call-the-tools-of-their-definition", "large")
    )


def test_an_approval_in_another_role_lifts_nothing(tmp_path: Path):
    decision = engine(tmp_path, LARGE).decide(call(200_000, approved=("legal",)))
    assert decision.verdict is Verdict.REQUIRES_APPROVAL


def test_all_roles_that_are_still_missing_are_listed(tmp_path: Path):
    legal = (
        '@id("law") @requires_approval("legal") forbid (principal, action == Action::"tool.call", resource);'
    )
    policies = engine(tmp_path, LARGE, legal)
    assert policies.decide(call(200_000)).roles == ("board", "legal")
    assert policies.decide(call(200_000, approved=("board",))).roles == ("legal",)
    assert policies.decide(call(200_000, approved=("board", "legal"))).allowed


def test_no_approval_is_asked_for_what_stays_denied(tmp_path: Path):
    policies = engine(
        tmp_path, LARGE, '@id("frozen") forbid (principal, action, resource) when { context.tenant == "f" };'
    )
    frozen = policies.decide(call(200_000, tenant="f", approved=("board",)))
    assert frozen == PolicyDecision(Verdict.DENY, ("frozen", "large"))
    unpermitted = policies.decide(replace(call(200_000), entities={}))
    assert unpermitted == PolicyDecision(Verdict.DENY)


def test_policies_judge_arguments_of_every_type(tmp_path: Path):
    policies = engine(
        tmp_path,
        """
        @id("whole") forbid (principal, action, resource)
        when { context.arguments has count && context.arguments.count < 0 };
        @id("text") forbid (principal, action, resource)
        when { context has arguments.purpose && context.arguments.purpose like "*bribe*" };
        @id("truth") forbid (principal, action, resource)
        when { context.arguments has urgent && context.arguments.urgent };
        @id("texts") forbid (principal, action, resource)
        when { context.arguments has tags && context.arguments["tags"].contains("secret") };
        """,
    )

    def deciding(**arguments: Json) -> tuple[str, ...]:
        return policies.decide(call(arguments=arguments)).policies

    permit = ("aos-agents-call-the-tools-of-their-definition",)
    assert deciding(count=0, purpose="ink", urgent=False, tags=["a"]) == permit
    assert deciding(purpose=None) == permit
    assert deciding(count=-1) == ("whole",)
    assert deciding(purpose="a bribe.") == ("text",)
    assert deciding(urgent=True) == ("truth",)
    assert deciding(tags=["secret"]) == ("texts",)


@pytest.mark.parametrize("amount", ["5", True, [5], {"usd": 5}, 1e300, float("inf"), float("nan")])
def test_an_argument_that_policies_cannot_judge_is_denied(tmp_path: Path, amount: Any):
    decision = engine(tmp_path, LARGE).decide(call(amount))
    assert decision.verdict is Verdict.DENY
    assert "amount_usd" in decision.errors[0]


def test_an_argument_that_no_policy_reads_may_be_anything(tmp_path: Path):
    request = call(arguments={"amount_usd": 5, "flows": [[1.5], {"a": None}], "other": 1e300})
    assert engine(tmp_path, LARGE).decide(request).allowed


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> CedarEngine:
    return engine(tmp_path_factory.mktemp("policies"), LARGE)


@settings(deadline=None, max_examples=200)
@given(st.integers(-(10**6), 10**6) | st.floats(-1e9, 1e9).map(lambda amount: round(amount, 4)))
def test_the_limit_is_exact_to_four_places(large: CedarEngine, amount: float):
    assert large.decide(call(amount)).allowed == (amount <= 100_000)


@pytest.mark.parametrize(
    "request_",
    [
        replace(call(), action="tool.cal"),
        replace(call(), resource=Entity("Model", "m")),
        replace(call(), principal=Entity("Robot", "r")),
        replace(call(), context={}),
        call(unknown=1),
        call(tenant=3),
        call(cost_micro_usd=0.5),
        call(arguments=[1]),
        call(arguments=None),
        call(approved_roles="board"),
        replace(call(), entities={AGENT: {"tools": "reserve_funds"}}),
        replace(call(), entities={AGENT: {"tools": ["reserve_funds"], "admin": True}}),
        replace(call(), entities={AGENT: {"tools": ["reserve_funds"]}, Entity("Robot", "r"): {}}),
    ],
)
def test_a_request_that_does_not_fit_the_schema_is_denied_with_the_error(request_: PolicyRequest):
    decision = CedarEngine.load([], TOOLS).decide(request_)
    assert decision.verdict is Verdict.DENY
    assert decision.errors
    assert decision.policies == ()


def test_an_entity_without_an_attribute_that_it_needs_is_denied_with_its_name():
    roleless = asked(USER, "approval.decide", Entity("Approval", "a1"), User={"roles": ["board"]})
    (error,) = CedarEngine.load().decide(roleless).errors
    assert error.startswith("entity does not conform")
    assert "a1" in error
    assert "`role`" in error


def test_a_forbid_that_fails_in_evaluation_denies_instead_of_being_skipped(tmp_path: Path):
    overflow = """
    @id("overflow") forbid (principal, action, resource)
    when { context has cost_micro_usd && context.cost_micro_usd * 1000000000 < 0 };
    """
    policies = engine(tmp_path, overflow)
    assert policies.decide(call(cost_micro_usd=5)).allowed
    decision = policies.decide(call(cost_micro_usd=2**62))
    assert decision.verdict is Verdict.DENY
    assert "overflow" in decision.errors[0]


def test_a_name_given_by_the_caller_does_not_disguise_the_entity():
    disguised = replace(
        call(),
        resource=Entity("Tool", "pay"),
        entities={**call().entities, Entity("Tool", "pay"): {"name": "npv"}},
    )
    assert not CedarEngine.load().decide(disguised).allowed


@pytest.mark.parametrize(
    ("text", "policy", "message"),
    [
        ("forbid (principal action, resource);", None, "does not parse"),
        ("permit (principal, action, resource);", "number 1", "has no @id"),
        ('@id("Not An Id") permit (principal, action, resource);', "Not An Id", "is not of the form"),
        ('@id("a") permit (principal, action == Action::"tool.cal", resource);', "a", "unrecognized action"),
        ('@id("a") permit (principal, action, resource) when { 1 };', "a", "expected Bool"),
        (
            '@id("a") forbid (principal, action, resource) when { context.arguments.count == 1 };',
            "a",
            "unable to guarantee safety",
        ),
        (
            '@id("a") forbid (principal, action, resource) when { context.arguments has ammount };',
            "a",
            "no such argument: 'ammount'",
        ),
        (
            '@id("a") forbid (principal, action, resource) when { context.arguments has mixed };',
            "a",
            "no such argument: 'mixed'",
        ),
        (
            '@id("a") forbid (principal, action, resource) unless { context has aproved_by };',
            "a",
            "no such attribute: 'aproved_by'",
        ),
        (
            '@id("a") forbid (principal, action, resource) when { context.arguments == context.arguments };',
            "a",
            "one argument at a time",
        ),
        ('@id("a") forbid (principal, action, resource == Tool::"pay");', "a", "no such tool: 'pay'"),
        ('@id("a") forbid (principal == ?principal, action, resource);', "a", "template"),
        (
            '@id("a") @requires_approval("board") permit (principal, action, resource);',
            "a",
            "belongs on a forbid",
        ),
        ('@id("a") @requires_approval forbid (principal, action, resource);', "a", "needs the role"),
        (
            '@id("aos-agents-use-models") permit (principal, action, resource);',
            "aos-agents-use-models",
            "same id",
        ),
        (
            '@id("a") permit (principal, action, resource); @id("a") forbid (principal, action, resource);',
            "a",
            "same id",
        ),
    ],
)
def test_a_bad_policy_stops_the_load_and_is_named(
    tmp_path: Path, text: str, policy: str | None, message: str
):
    with pytest.raises(InvalidSetting, match=message) as refused:
        engine(tmp_path, LARGE, text)
    assert str(tmp_path / "1.cedar") in refused.value.message
    assert refused.value.details.get("policy") == policy


def test_an_unreadable_file_or_missing_folder_is_named(tmp_path: Path):
    (tmp_path / "latin.cedar").write_bytes(b"// caf\xe9")
    with pytest.raises(InvalidSetting, match=r"latin\.cedar cannot be read"):
        CedarEngine.load([tmp_path])
    with pytest.raises(InvalidSetting, match="nowhere does not exist"):
        CedarEngine.load([tmp_path / "nowhere"])


def test_policies_come_from_several_folders(tmp_path: Path):
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "p.cedar").write_text(f'@id("{name}") forbid (principal, action, resource);')
    decision = CedarEngine.load([tmp_path / "a", tmp_path / "b"]).decide(call())
    assert decision == PolicyDecision(Verdict.DENY, ("a", "b"))
