"""The workflow over the real proposals, with the mock model in the agents' place."""

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from aos.kernel.workflows import expressions
from aos.kernel.workflows.definition import (
    AgentStep,
    ApprovalStep,
    Catalog,
    ToolStep,
    WorkflowDefinition,
    dependencies,
    parse,
)
from aos.kernel.workflows.graph import topological_order
from aos.sdk import Agent, Memory, ToolContext, ToolFailed, VolatileMemory, load_application
from aos.services.inference.messages import Message, Role
from aos.services.inference.mock.client import MockModelClient
from apps.leadership import application

FOLDER = Path(__file__).parents[3] / "apps" / "leadership" / "proposals"


def proposal(name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return value


@pytest.fixture(scope="module")
def workflow() -> WorkflowDefinition:
    [file] = application.workflow_files
    catalog = Catalog(
        agents=[agent.name for agent in application.agents], tools=[tool.name for tool in application.tools]
    )
    return parse(file.read_text(), catalog)


def context(step: str, memory: Memory) -> ToolContext:
    return ToolContext("acme", "run-1", step, f"key-{step}", 0.0, memory)


async def answer(agent: Agent, task: str, given: dict[str, Any]) -> dict[str, Any]:
    """Let the mock work on the task: call the tools that it asks for until it answers."""
    fenced = f"{task}\n```json\n{json.dumps(given)}\n```"
    messages = [Message(Role.SYSTEM, agent.definition.instructions), Message(Role.USER, fenced)]
    for _ in range(agent.definition.max_turns):
        reply = await MockModelClient().complete(
            messages,
            [tool.definition for tool in agent.tools],
            model=None,
            output_schema=agent.definition.output,
            max_output_tokens=agent.definition.max_output_tokens,
            timeout_s=1.0,
        )
        messages.append(Message(Role.ASSISTANT, reply.text, reply.tool_calls))
        if not reply.tool_calls:
            break
        for call in reply.tool_calls:
            result = await application.tool(call.name).call(
                call.arguments, context(agent.name, VolatileMemory())
            )
            messages.append(Message(Role.TOOL, json.dumps(result), tool_call_id=call.id))
    output: dict[str, Any] = json.loads(messages[-1].text)
    assert agent.definition.output is not None
    jsonschema.validate(output, dict(agent.definition.output))
    return output


async def run(
    workflow: WorkflowDefinition, given: dict[str, Any], memory: Memory | None = None
) -> dict[str, Any]:
    """Do the steps in order; raises what a tool step raises."""
    jsonschema.validate(given, workflow.input)
    memory = memory or VolatileMemory()
    states: dict[str, Any] = {}
    variables = {"input": given, "steps": states, "run": {"id": "run-1"}}
    for name in topological_order({step.id: dependencies(workflow, step) for step in workflow.steps}):
        step = workflow.step(name)
        needed = dependencies(workflow, step)
        skipped = any(states[other]["state"] == "skipped" for other in needed) and step.when is None
        if skipped or (step.when is not None and not expressions.evaluate_condition(step.when, variables)):
            states[name] = {"state": "skipped", "output": None}
            continue
        output: Any = None
        if isinstance(step, AgentStep):
            task = expressions.render(step.task, variables)
            output = await answer(
                application.agent(step.agent), task, expressions.render(step.with_, variables)
            )
        elif isinstance(step, ToolStep):
            arguments = expressions.render(step.with_, variables)
            output = await application.tool(step.tool).call(arguments, context(name, memory))
        else:
            assert isinstance(step, ApprovalStep)
            assert "${{" not in expressions.render(step.prompt, variables)
        states[name] = {"state": "completed", "output": output}
    rendered: dict[str, Any] = expressions.render(workflow.output, variables)
    return rendered


async def test_a_good_proposal_is_approved_funded_and_launched(workflow: WorkflowDefinition) -> None:
    output = await run(workflow, proposal("warehouse-automation"))
    assert output["decision"] == "approve"
    assert output["npv_usd"] == 1230190.71
    assert output["reservation_id"] == "key-reserve"
    assert output["project_id"] == "key-launch"


async def test_a_poor_proposal_is_rejected_on_the_numbers(workflow: WorkflowDefinition) -> None:
    output = await run(workflow, proposal("loyalty-platform"))
    assert output["decision"] == "reject"
    assert output["npv_usd"] < 0
    assert (output["reservation_id"], output["project_id"]) == (None, None)


async def test_good_numbers_do_not_launch_without_the_vendor(workflow: WorkflowDefinition) -> None:
    with pytest.raises(ToolFailed, match="Voltaris Energiespeicher AG has not confirmed"):
        await run(workflow, proposal("battery-storage"))


async def test_the_compensation_releases_what_was_reserved_before_a_failed_launch(
    workflow: WorkflowDefinition,
) -> None:
    memory = VolatileMemory()
    with pytest.raises(ToolFailed):
        await run(workflow, proposal("battery-storage"), memory)
    reserve = workflow.step("reserve")
    assert isinstance(reserve, ToolStep)
    assert reserve.compensate is not None
    output = {"reservation_id": "key-reserve"}
    arguments = expressions.render(
        reserve.compensate.with_, {"steps": {"reserve": {"state": "completed", "output": output}}}
    )
    released = await application.tool(reserve.compensate.tool).call(arguments, context("undo", memory))
    assert released == {"reservation_id": "key-reserve", "released_usd": 2350000.0}


@pytest.mark.parametrize(
    ("name", "year", "flow", "decisions"),
    [
        ("warehouse-automation", 0, -6_200_000, ["approve", "reject"]),
        ("loyalty-platform", 5, 1_900_000, ["reject", "approve"]),
    ],
)
async def test_changing_one_cash_flow_changes_the_decision(
    workflow: WorkflowDefinition, name: str, year: int, flow: int, decisions: list[str]
) -> None:
    given = proposal(name)
    changed = copy.deepcopy(given)
    changed["cash_flows"][year] = flow
    assert [(await run(workflow, one))["decision"] for one in (given, changed)] == decisions


def test_finance_and_technology_run_side_by_side_before_the_decision(workflow: WorkflowDefinition) -> None:
    needs = {step.id: set(dependencies(workflow, step)) for step in workflow.steps}
    assert needs["finance"] == needs["technology"] == set()
    assert {"finance", "technology"} <= needs["decide"]
    assert "decide" in needs["board"]
    assert needs["reserve"] == {"board"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cash_flows", [100, 200]),
        ("cash_flows", [-100]),
        ("discount_rate", -1),
        ("components", []),
        ("deadline_weeks", "soon"),
        ("unknown", 1),
    ],
)
def test_the_input_schema_refuses_what_the_tools_would(
    workflow: WorkflowDefinition, field: str, value: object
) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(proposal("warehouse-automation") | {field: value}, workflow.input)


def test_the_application_is_found_by_its_name() -> None:
    assert load_application("apps.leadership") is application
